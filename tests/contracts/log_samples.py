"""A small log in every format of conf/log: what its documentation says, values made up."""

# ruff: noqa: E501 (rows of logs are as long as their formats have them)

from __future__ import annotations

from typing import Any, NamedTuple


class Sample(NamedTuple):
    """Rows as JSON objects, or the text of a CSV; and what a reader must make of them."""

    content: list[dict[str, Any]] | str
    input_tokens: list[int]
    output_tokens: list[int]
    arrived_s: list[float]
    tasks: list[int] | None = None
    wait_s: list[float] | None = None
    cached: int | None = None


def _span(begin_s: int, end_s: int, span_id: str, parent: str, **attributes: Any) -> dict[str, Any]:
    kinds = {int: "intValue", str: "stringValue"}
    listed = [
        {"key": key.replace("_of_", "."), "value": {kinds[type(value)]: str(value)}}
        for key, value in attributes.items()
    ]
    times = {"startTimeUnixNano": str(begin_s * 10**9), "endTimeUnixNano": str(end_s * 10**9)}
    return {"traceId": "t", "spanId": span_id, "parentSpanId": parent, "name": "chat m", "attributes": listed} | times


_TOKENS, _OUT, _SESSION = (
    "gen_ai_of_usage_of_input_tokens",
    "gen_ai_of_usage_of_output_tokens",
    "gen_ai_of_conversation_of_id",
)
_TEN = 1_790_000_000

SAMPLES: dict[str, Sample] = {
    "plain": Sample("arrived_s,input_tokens,output_tokens\n2,10,1\n5,20,2\n", [10, 20], [1, 2], [0, 3]),
    "azure": Sample(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-14 09:00:03+00:00,2011,96\n2024-05-14 09:00:04.5+00:00,812,41\n",
        [2011, 812], [96, 41], [0, 1.5],
    ),
    "lengths": Sample(
        [{"timestamp": 0, "input_length": 110, "output_length": 12}, {"timestamp": 5000, "input_length": 230, "output_length": 24}],
        [110, 230], [12, 24], [0, 5],
    ),
    "mooncake": Sample(
        [
            {"timestamp": 0, "input_length": 600, "output_length": 9, "hash_ids": [1, 2], "session_id": "s", "request_id": "a"},
            {"request_id": "b", "session_id": "s", "input_length": 1100, "output_length": 8, "hash_ids": [1, 2, 7],
             "wait_for": ["a"], "delay": 15, "tool_wait_ms": 800},
        ],
        [600, 1100], [9, 8], [0, 0], [0, 0], [0, 0.815],
    ),
    "bailian": Sample(
        [
            {"chat_id": 7, "parent_chat_id": -1, "timestamp": 61.1, "input_length": 32, "output_length": 80, "type": "text",
             "turn": 1, "hash_ids": [5, 6]},
            {"chat_id": 9, "parent_chat_id": 7, "timestamp": 91.1, "input_length": 130, "output_length": 8, "type": "text",
             "turn": 2, "hash_ids": [5, 6, 9, 10, 11, 12, 13, 14, 15]},
        ],
        [32, 130], [80, 8], [0, 30], [0, 0],
    ),
    "burstgpt": Sample(
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        "19440110.0,a1b2,7.5,ChatGPT,800,120,920,Conversation log\n19440112.0,,2,ChatGPT,10,5,15,API log\n"
        "19440113.0,,2,ChatGPT,10,0,10,API log\n19440120.0,a1b2,3,ChatGPT,950,20,970,Conversation log\n",
        [800, 10, 950], [120, 5, 20], [0, 2, 10], [0, 1, 0], [0, 0, 2.5],
    ),
    "vidur": Sample("arrived_at,num_prefill_tokens,num_decode_tokens\n1.25,900,130\n2.25,90,13\n", [900, 90], [130, 13], [0, 1]),
    "splitwise": Sample(
        "request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size\n0,2,0,1.25,1,900,130\n",
        [900], [130], [0],
    ),
    "litellm": Sample(
        "request_id,call_type,prompt_tokens,completion_tokens,startTime,endTime,model,cache_hit,status,session_id,metadata\n"
        'r1,acompletion,31,14,2026-05-04T09:10:11.123,2026-05-04T09:10:16.123,m,False,success,s,'
        '"{""usage_object"": {""cache_read_input_tokens"": 0, ""cache_creation_input_tokens"": 1253}}"\n'
        "r2,acompletion,0,0,2026-05-04T09:10:12.123,2026-05-04T09:10:12.123,m,False,failure,s,{}\n",
        [1284], [14], [0], [0], cached=0,
    ),
    "anthropic": Sample(
        [{"timestamp": "2026-05-04T09:10:11Z", "usage": {"input_tokens": 29, "cache_creation_input_tokens": 2950,
          "cache_read_input_tokens": 5182, "output_tokens": 140}}],
        [8161], [140], [0], cached=5182,
    ),
    "cached_beside_or_inside": Sample(
        "timestamp,prompt_tokens,completion_tokens,cache_read_input_tokens\n0,31,5,1253\n", [1284], [5], [0], cached=1253
    ),
    "openai": Sample(
        [{"id": f"c{i}", "created": _TEN + i, "model": "m", "usage": {"prompt_tokens": 100, "completion_tokens": 9,
          "prompt_tokens_details": {"cached_tokens": 64}}} for i in (0, 4)],
        [100, 100], [9, 9], [0, 4], cached=128,
    ),
    "gemini": Sample(
        [{"timestamp": 3, "usageMetadata": {"promptTokenCount": 50, "candidatesTokenCount": 7, "thoughtsTokenCount": 30}}],
        [50], [37], [0],
    ),
    "langfuse": Sample(
        [
            {"id": "o0", "trace_id": "t1", "type": "SPAN", "start_time": "2026-05-04 09:10:10.000000", "level": "DEFAULT"},
            {"id": "o1", "trace_id": "t1", "type": "GENERATION", "start_time": "2026-05-04 09:10:11.000000",
             "end_time": "2026-05-04 09:10:16.000000", "level": "DEFAULT", "provided_model_name": "m", "session_id": "s1",
             "usage_details": {"input": 2979, "input_cached_tokens": 5182, "output": 140, "total": 8301}},
        ],
        [8161], [140], [0], [0], cached=5182,
    ),
    "helicone": Sample(
        "response_id,response_created_at,response_status,request_created_at,request_body,request_properties,request_user_id,"
        "model,prompt_tokens,completion_tokens,latency,cost\n"
        '"x2","2026-05-04T09:10:26.123Z","200","2026-05-04T09:10:21.123Z","","{""""Helicone-Session-Id"""":""""s1""""}","u1","",'
        '"1200","12","","0.004"\n'
        '"x1","2026-05-04T09:10:16.123Z","200","2026-05-04T09:10:11.123Z","","{""""Helicone-Session-Id"""":""""s1""""}","u1","",'
        '"900","120","","0.004"\n'
        '"x0","2026-05-04T09:10:16.123Z","500","2026-05-04T09:10:11.123Z","","","u1","","900","1","","0.004"\n',
        [900, 1200], [120, 12], [0, 10], [0, 0], [0, 5],
    ),
    "baseten": Sample(
        [
            {"timestamp_start_unix_ms": _TEN * 1000 + 123, "input_tokens": 130, "output_tokens": 85, "total_hashes": [11, 12, 13],
             "block_size": 64, "provided_session_id": "s", "duration_e2e_ms": 5400, "request_canceled": 0,
             "cached_tokens_reference": 64, "model_name": "m"},
            {"timestamp_start_unix_ms": _TEN * 1000 + 323, "input_tokens": 130, "output_tokens": 0, "total_hashes": [11],
             "block_size": 64, "request_canceled": 1, "model_name": "m"},
        ],
        [130], [85], [0], [0], [0], cached=64,
    ),
    "aiperf": Sample(
        [{"metadata": {"conversation_id": f"c{i}", "turn_index": 0, "request_start_ns": _TEN * 10**9 + i * 2 * 10**9,
          "request_end_ns": _TEN * 10**9 + 10**10, "benchmark_phase": phase, "was_cancelled": False},
          "metrics": {"input_sequence_length": {"value": 500, "unit": "tokens"},
                      "output_sequence_length": {"value": 20, "unit": "tokens"}}, "error": None}
         for i, phase in enumerate(["warmup", "profiling", "profiling"])],
        [500, 500], [20, 20], [0, 2], [0, 1],
    ),
    "dynamo": Sample(
        [
            {"timestamp": 17, "event": {"event_type": "request_end", "event_time_unix_ms": _TEN * 1000 + 9000,
             "agent_context": {"session_id": "s1"}, "request": {"request_id": "r1", "model": "m", "input_tokens": 100,
             "output_tokens": 120, "cached_tokens": 64, "request_received_ms": _TEN * 1000 + 3000, "total_time_ms": 5900.0,
             "replay": {"trace_block_size": 64, "input_length": 100, "input_sequence_hashes": [2**63 + 5, 12]}}}},
            {"timestamp": 18, "event": {"event_type": "tool_start", "event_time_unix_ms": _TEN * 1000 + 9100, "tool": {}}},
        ],
        [100], [120], [0], [0], [0], cached=64,
    ),
    "sglang": Sample(
        [
            {"timestamp": "2026-05-04T09:10:13.100", "event": "request.received", "rid": "a1", "obj": {}},
            {"timestamp": "2026-05-04T09:10:16.000", "event": "request.finished", "rid": "a1", "out": {"meta_info": {
             "prompt_tokens": 900, "completion_tokens": 120, "cached_tokens": 512, "e2e_latency": 2.9, "finish_reason": {"type": "stop"}}}},
            {"timestamp": "2026-05-04T09:10:17.000", "event": "request.finished", "rid": "a2", "out": {"meta_info": {
             "prompt_tokens": 90, "completion_tokens": 12, "cached_tokens": 0, "e2e_latency": 1.4, "finish_reason": {"type": "stop"}}}},
        ],
        [900, 90], [120, 12], [0, 2.5], cached=512,
    ),
    "vllm": Sample(
        [{"request_id": f"r{i}", "arrival_time": _TEN + i, "finished_time": _TEN + 9.0, "num_prompt_tokens": 30,
          "num_generation_tokens": 3} for i in (0, 2)],
        [30, 30], [3, 3], [0, 2],
    ),
    "chutes": Sample(
        "invocation_id,function_name,chute_id,user_id,rehash_round,instance_id,started_at,completed_at,it,ot,ct,ttft\n"
        "42,chat_stream,m,u1,0,i0,1970-01-03 04:05:06.5,1970-01-03 04:05:11.5,1800,240,,0.41\n"
        "43,chat_stream,m,u1,0,i0,1970-01-03 04:05:07.5,,,,,\n",
        [1800], [240], [0], cached=0,
    ),
    "otel": Sample(
        [{"resourceSpans": [{"scopeSpans": [{"spans": [
            _span(_TEN, _TEN + 9, "01", "", **{_TOKENS: 300, _OUT: 30, "gen_ai_of_operation_of_name": "invoke_agent"}),
            _span(_TEN + 1, _TEN + 3, "02", "01", **{_TOKENS: 100, _OUT: 14, _SESSION: "s1"}),
            _span(_TEN + 3, _TEN + 4, "03", "01", gen_ai_of_operation_of_name="execute_tool"),
            _span(_TEN + 5, _TEN + 8, "04", "01", **{_TOKENS: 200, _OUT: 16, _SESSION: "s1"}),
        ]}]}]}],
        [100, 200], [14, 16], [0, 4], [0, 0], [0, 2],
    ),
    "weka": Sample(
        [{"id": "s", "models": ["m"], "block_size": 64, "hash_id_scope": "local", "tool_tokens": 90, "system_tokens": 25, "requests": [
            {"t": 0.0, "type": "s", "model": "m", "in": 120, "out": 18, "hash_ids": [1, 2], "stop": "tool_use", "api_time": 6.0},
            {"t": 6.5, "type": "subagent", "agent_id": "a", "requests": [
                {"t": 0.5, "type": "n", "model": "m", "in": 64, "out": 5, "hash_ids": [1], "api_time": 1.0}]},
            {"t": 9.0, "type": "s", "model": "m", "in": 190, "out": 9, "hash_ids": [1, 2, 3], "api_time": 3.0, "think_time": 3.0}]}],
        [120, 64, 190], [18, 5, 9], [0, 7, 9], [0, 1, 0], [0, 0, 3],
    ),
    "tracelab": Sample(
        [{"provider": "claude", "session_id": "claude:0", "round_index": i, "model": "m", "input_tokens_total": 900 + 300 * i,
          "prefix_tokens": 800, "output_tokens": 21, "timing_events": [
              {"event_type": "user_message", "timestamp": f"2026-06-01T05:4{i}:20.000Z"},
              {"event_type": "text", "timestamp": f"2026-06-01T05:4{i}:29.000Z"}]} for i in (0, 1)],
        [900, 1200], [21, 21], [0, 60], [0, 0], [0, 51], cached=1600,
    ),
    "tracelab_replay": Sample(
        "session_id,arrival_time,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms\n0,0,0,0,576,64,100\n0,0,1,576,128,64,0\n",
        [576, 704], [64, 64], [0, 0], [0, 0], [0, 0.1], cached=576,
    ),
    "llmservingsim": Sample(
        [
            {"arrival_time_ns": 0, "sub_requests": [{"input_toks": 1500, "output_toks": 200, "tool_duration_ns": 80_000_000},
                                                    {"input_toks": 1900, "output_toks": 150}]},
            {"arrival_time_ns": 1_000_000_000, "input_toks": 10, "output_toks": 5},
        ],
        [1500, 1900, 10], [200, 150, 5], [0, 0, 1], [0, 0, 1], [0, 0.08, 0],
    ),
    "requests": Sample(
        "replication,task_id,call_index,calls_in_task,arrived_s,finished_s,input_tokens,output_tokens,returning_tokens,priority\n"
        "0,0,0,2,5,9,100,10,0,1\n0,0,1,2,11,12,130,10,109,1\n1,0,0,1,3,4,7,7,0,0\n",
        [100, 130], [10, 10], [5, 11], [0, 0], [0, 2],
    ),
}  # fmt: skip
"""By the name of the preset. Those of sums have no sample: they are no logs of requests."""

SUMS = {
    "usage_pages": [
        {"data": [{"start_time": 0, "results": [{"num_model_requests": 4, "input_tokens": 80, "output_tokens": 9}]}]}
    ]
}
"""Documents of readers of sums, by their kind."""
