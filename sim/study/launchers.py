"""Where the scenarios of a sweep are played: processes of this machine, a Ray cluster, or jobs of Slurm.

On several machines the folder in which the command is given and that of the results must be shared by all of them, at
the same path, and each needs the same version of the program.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from sim.schema import ConfigError
from sim.study.folder import ROW
from sim.study.job import PARENT_PID, run_in_sweep
from sim.study.planned import Planned
from sim.study.saved import in_short
from sim.study.workers import ALL_CORES, Workers, by_length, with_folder

ADDRESS = "hydra.launcher.address"
_PACKAGES = {"ray": "ray", "slurm": "submitit"}
_RETRIES = 3
_LISTENS_WITHIN_S = 5.0
_SLURM_NAMES = ("partition", "account", "qos")

Launch = Callable[[list[Planned], Path], None]
"""Plays scenarios so that each leaves its row in the folder of the study."""


def launcher_of(node: DictConfig, words: Sequence[str] = ()) -> Launch:
    """What Hydra's node `launcher` asks for. Raises ConfigError for what is not known, or not installed.

    `words` are those of the command line: only they may name the address of a cluster, as a cluster can run any code.
    """
    target = str(node.get("_target_") or "").rpartition(".")[2]
    kind = str(node.get("kind") or target)
    if kind == "BasicLauncher":
        return Workers(1)
    if kind == "JoblibLauncher":
        return Workers(int(node.n_jobs))
    if kind not in _PACKAGES:
        raise ConfigError(f"hydra/launcher: must be joblib (processes), basic (none), ray or slurm, not {kind}")
    if find_spec(_PACKAGES[kind]) is None:
        raise ConfigError(f"hydra/launcher={kind}: needs {_PACKAGES[kind]}: pip install 'llm-traffic-sim[{kind}]'")
    if kind == "slurm":
        return OnSlurm(node)
    if node.address is not None and not any(word.lstrip("+").startswith(f"{ADDRESS}=") for word in words):
        raise ConfigError(f"{ADDRESS} = {node.address}: is taken from the command line only")
    return OnRay(node.address, None if node.n_jobs == ALL_CORES else _whole(node, "n_jobs"))


class OnRay:
    """Each scenario is a task of Ray, longest first; a task whose worker dies is given to another."""

    def __init__(self, address: str | None, n_jobs: int | None):
        self._address, self._n_jobs = address, n_jobs
        self.n_at_once = n_jobs or os.cpu_count() or 1

    def __call__(self, some: list[Planned], folder: Path) -> None:
        """Play them. Raises what Ray raises if no worker lives through a scenario, once all others are done.

        Raises ConfigError if there is no such cluster, or a machine of it lacks the folder of results.
        """
        ray: Any = import_module("ray")
        self._join(ray)
        play = ray.remote(num_cpus=1, max_retries=_RETRIES)(_play_here)
        tasks = [play.remote(os.getcwd(), str(folder), _arguments(p, folder)) for p in by_length(some)]
        error: Exception | None = None
        for task in tasks:
            try:
                ray.get(task)
            except Exception as lost:
                error = getattr(lost, "cause", None) or lost  # of a task that raised: what it raised
        if error is not None:
            raise error

    def _join(self, ray: Any) -> None:
        if ray.is_initialized():
            return
        here = {"num_cpus": self._n_jobs or os.cpu_count(), "include_dashboard": False}
        more = here if self._address is None else {}
        if self._address is not None:
            _require_listener(self._address)
        try:
            ray.init(address=self._address or "local", log_to_driver=False, logging_level="ERROR", **more)
        except (OSError, RuntimeError, ValueError) as error:  # ConnectionError is an OSError
            raise ConfigError(f"{ADDRESS} = {self._address}: {in_short(error)}") from None


def _require_listener(address: str) -> None:
    """Raise ConfigError if nothing listens at an address HOST:PORT: Ray tries again for ten minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host:  # auto: Ray knows the cluster of this machine by a file
        return
    try:
        socket.create_connection((host, int(port)), _LISTENS_WITHIN_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigError(f"{ADDRESS} = {address}: no Ray cluster listens there ({in_short(error)})") from None


class OnSlurm:
    """The scenarios are dealt out to the jobs of an array; what a job that ended leaves goes to a further array."""

    def __init__(self, node: DictConfig):
        """Raises ConfigError for a value that Slurm has no use for."""
        if node.cluster not in ("slurm", "local"):
            raise ConfigError(f"hydra.launcher.cluster = {node.cluster}: must be slurm, or local to try it")
        if node.cluster == "slurm" and shutil.which("sbatch") is None:
            raise ConfigError("hydra/launcher=slurm: there is no sbatch here; hydra.launcher.cluster=local tries it")
        if node.mem_gb is not None and not isinstance(node.mem_gb, int | float):
            raise ConfigError(f"hydra.launcher.mem_gb = {node.mem_gb!r}: must be a number")
        names = {key: node[key] for key in _SLURM_NAMES if node[key] is not None}
        for key, name in names.items():
            if not re.fullmatch(r"[\w.,-]+", str(name)):
                raise ConfigError(f"hydra.launcher.{key} = {name!r}: must be a name in Slurm")
        self._cluster, self._n_jobs, self._cpus = node.cluster, _whole(node, "n_jobs"), _whole(node, "cpus_per_task")
        self.n_at_once = self._n_jobs * self._cpus
        own = {} if self._cluster == "local" else {f"slurm_{key}": name for key, name in names.items()}
        memory = {} if node.mem_gb is None else {"mem_gb": float(node.mem_gb)}
        self._parameters = {"timeout_min": _whole(node, "timeout_min"), "cpus_per_task": self._cpus, **memory, **own}

    def __call__(self, some: list[Planned], folder: Path) -> None:
        """Play them. Raises what submitit raises if a job ends early again and again.

        Raises ConfigError if a machine lacks the folder of results.
        """
        left, error = by_length(some), None
        for _ in range(_RETRIES):
            error = self._played(left, folder)
            n_before, left = len(left), [p for p in left if not (p.place(folder) / ROW).exists()]
            if not left or len(left) == n_before:
                break
            print(f"{len(left)} scenarios are left by jobs that ended early; they are given to others", file=sys.stderr)
        if error is not None and left:
            raise error

    def _played(self, some: list[Planned], folder: Path) -> Exception | None:
        """One array of jobs, waited for; why the last of those that did not end well did not."""
        submitit: Any = import_module("submitit")
        logs = folder / ".submitit"
        executor = submitit.AutoExecutor(folder=logs, cluster=self._cluster)
        executor.update_parameters(name="llm-traffic-sim", **self._parameters)
        parts = [some[i :: self._n_jobs] for i in range(min(self._n_jobs, len(some)))]
        arguments = [[_arguments(p, folder) for p in part] for part in parts]
        n = len(parts)
        jobs = executor.map_array(_play_part, [os.getcwd()] * n, [str(folder)] * n, arguments, [self._cpus] * n)
        error: Exception | None = None
        try:
            for job in jobs:
                try:
                    if refused := job.result():
                        raise ConfigError(refused)
                except ConfigError:
                    raise
                except Exception as lost:
                    error = lost
        except KeyboardInterrupt:
            for job in jobs:
                job.cancel()
            raise
        if error is None:
            shutil.rmtree(logs, ignore_errors=True)
        return error


def _whole(node: DictConfig, key: str) -> int:
    """Raises ConfigError for what is not a whole number of at least 1."""
    if not isinstance(node[key], int) or node[key] < 1:
        raise ConfigError(f"hydra.launcher.{key} = {node[key]}: must be a whole number of at least 1")
    return int(node[key])


Arguments = tuple[Any, ...]


def _arguments(p: Planned, folder: Path) -> Arguments:
    return with_folder(p, folder), p.overrides, p.parts, p.code


def _play_here(working_folder: str, folder: str, arguments: Arguments) -> None:
    """Play one scenario on whichever machine this is. Raises ConfigError if it does not share the folder of results."""
    _enter(working_folder, folder)
    run_in_sweep(*arguments)


def _play_part(working_folder: str, folder: str, part: list[Arguments], n_at_once: int) -> str:
    """Play several on one machine, `n_at_once` at a time. Returns why that is not possible; "" if it is."""
    try:
        _enter(working_folder, folder)
    except ConfigError as refused:
        return str(refused)
    if n_at_once == 1:
        for arguments in part:
            run_in_sweep(*arguments)
        return ""
    from joblib import Parallel, delayed

    os.environ[PARENT_PID] = str(os.getpid())  # in place of the process that waits for this job
    Parallel(n_jobs=n_at_once, backend="loky")(delayed(run_in_sweep)(*arguments) for arguments in part)
    return ""


def _enter(working_folder: str, folder: str) -> None:
    if not Path(working_folder).is_dir() or not (Path(working_folder) / folder).is_dir():
        where = f"{Path(working_folder) / folder}: is not on {socket.gethostname()}"
        raise ConfigError(f"{where}; all machines of a cluster must share the folder of results")
    os.chdir(working_folder)
