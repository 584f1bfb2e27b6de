"""Pages of a usage report as OpenAI's and similar interfaces give them: stretches of time with results in each."""

from __future__ import annotations

from typing import Literal

from sim.workload.logs.readers.reader import Documents, LogReader

_EDGES = ("start_time", "end_time", "starting_at", "ending_at")


class UsagePages(LogReader):
    """A page has its buckets under `data`, or is a bucket itself; every result of a bucket becomes a row, with the
    bucket's start and end beside its own keys. A bucket without results has no row.

    Source: openai/openai-python types @ e43b422 (organization usage, completions).
    """

    kind: Literal["usage_pages"] = "usage_pages"

    def rows(self, documents: Documents) -> Documents:
        """The results, bucket by bucket."""
        for line, document in documents:
            pages = document.get("data")
            for bucket in pages if isinstance(pages, list) else [document]:
                edges = {key: bucket[key] for key in _EDGES if key in bucket}
                results = bucket.get("results")
                for result in results if isinstance(results, list) else [bucket]:
                    yield line, edges | result
