-- The calls of stored functions that the code of this version makes, each with example arguments. A version of
-- the functions must answer these calls as long as this version may be in service beside it. Above each call
-- stands its result: the fields that a JSON object has at least, or the value.

-- ""
select app.begin_request('{"user_id": "00000000-0000-4000-8000-000000000001"}');

-- {"outcome": "started", "conversation_id": "00000000-0000-4000-8000-0000000000c1", "answer_id": "00000000-0000-4000-8000-0000000000a1", "history": [{"role": "user", "content": "How do I sleep better?"}], "message_count": 1, "max_tokens": 1000, "prompt_bytes": 454}
select app.begin_turn('{
    "user_id": "00000000-0000-4000-8000-000000000001",
    "answer_id": "00000000-0000-4000-8000-0000000000a1",
    "idempotency_key": "first", "request_hash": "00ff", "resumes": false, "waits_for_stop": true,
    "model": "openai/some-model", "max_tokens": 1000,
    "usd_per_input": "0.000001", "usd_per_output": "0.00001", "priced": true, "lease": "15 seconds",
    "rate_limit": 5, "rate_window": 60, "budget": "1.5", "budget_anonymous": "0", "budget_total": "20",
    "prices": {
        "prompt": "0.00000125", "answer": "0.00001", "long_from": 272000, "long_prompt": "0.0000025",
        "long_answer": "0.000015"
    },
    "conversation_id": null, "new_conversation_id": "00000000-0000-4000-8000-0000000000c1",
    "create_missing": false, "replaces": null,
    "question_id": "00000000-0000-4000-8000-0000000000b1", "question": "How do I sleep better?",
    "system_tokens": 100, "system_bytes": 416, "history_limit": 20, "history_step": 10,
    "history_bytes": 1000000, "history_characters": 32000
}')::text;

-- true
select app.reserve_attempt('{
    "user_id": "00000000-0000-4000-8000-000000000001", "answer_id": "00000000-0000-4000-8000-0000000000a1",
    "usd": "0.0001", "budget": "1.5", "budget_anonymous": "0", "budget_total": "20"
}');

-- "running"
select app.checkpoint_turn('{
    "user_id": "00000000-0000-4000-8000-000000000001", "answer_id": "00000000-0000-4000-8000-0000000000a1",
    "content": "Go to bed", "model": "openai/some-model", "lease": "15 seconds"
}');

-- "running"
select app.checkpoint_turn('{
    "user_id": "00000000-0000-4000-8000-000000000001", "answer_id": "00000000-0000-4000-8000-0000000000a1",
    "content": null, "model": "openai/some-model", "lease": "15 seconds"
}');

-- "00000000-0000-4000-8000-0000000000a1"
select app.running_answer('{
    "user_id": "00000000-0000-4000-8000-000000000001", "conversation_id": "00000000-0000-4000-8000-0000000000c1"
}');

-- {"status": "streaming", "text": "to bed", "length": 9, "conversation_id": "00000000-0000-4000-8000-0000000000c1", "metadata": {"model": "openai/some-model"}, "usage": null}
select app.read_answer('{
    "user_id": "00000000-0000-4000-8000-000000000001", "answer_id": "00000000-0000-4000-8000-0000000000a1",
    "offset": 3
}')::text;

-- "running"
select app.cancel_turn('{
    "user_id": "00000000-0000-4000-8000-000000000001", "answer_id": "00000000-0000-4000-8000-0000000000a1"
}');

-- {"answer_id": "00000000-0000-4000-8000-0000000000a1", "status": "running"}
select app.cancel_conversation('{
    "user_id": "00000000-0000-4000-8000-000000000001",
    "conversation_ids": ["00000000-0000-4000-8000-0000000000c9", "00000000-0000-4000-8000-0000000000c1"]
}')::text;

-- "cancelled"
select app.finish_turn('{
    "user_id": "00000000-0000-4000-8000-000000000001", "answer_id": "00000000-0000-4000-8000-0000000000a1",
    "status": "cancelled", "content": "Go to bed early", "token_count": 4, "metadata": {"code": "x"},
    "usage": [{
        "id": "00000000-0000-4000-8000-0000000000d1", "provider": "openai", "model": "some-model",
        "tokens_in": 110, "tokens_out": 4, "tokens_cache_read": 0, "tokens_cache_write": 0,
        "tokens_reasoning": 0, "cost_usd": "0.00015", "priced": true, "estimated": false,
        "status": "cancelled", "ttft_ms": 300, "duration_ms": 900
    }]
}');

-- {"outcome": "started", "answer_id": "00000000-0000-4000-8000-0000000000a2"}
select app.begin_stateless_turn('{
    "user_id": "00000000-0000-4000-8000-000000000001",
    "answer_id": "00000000-0000-4000-8000-0000000000a2",
    "idempotency_key": null, "request_hash": "00ff", "resumes": false, "waits_for_stop": true,
    "model": "openai/some-model", "max_tokens": 1000,
    "usd_per_input": "0.000001", "usd_per_output": "0.00001", "priced": true, "lease": "15 seconds",
    "rate_limit": 5, "rate_window": 60, "budget": "0", "budget_anonymous": "0", "budget_total": "0",
    "prices": {
        "prompt": "0.00000125", "answer": "0.00001", "long_from": null, "long_prompt": "0.00000125",
        "long_answer": "0.00001"
    },
    "prompt_tokens": 120, "prompt_bytes": 512, "fixed_bytes": 480
}')::text;

-- "complete"
select app.finish_turn('{
    "user_id": "00000000-0000-4000-8000-000000000001", "answer_id": "00000000-0000-4000-8000-0000000000a2",
    "status": "complete", "content": "Well", "token_count": 1, "metadata": {}, "usage": []
}');

-- ""
select app.log_unstored_usage('{
    "user_id": "00000000-0000-4000-8000-000000000001", "answer_id": "00000000-0000-4000-8000-0000000000a3",
    "usage": [{
        "id": "00000000-0000-4000-8000-0000000000d3", "provider": "openai", "model": "some-model",
        "tokens_in": 110, "tokens_out": 4, "tokens_cache_read": 0, "tokens_cache_write": 0,
        "tokens_reasoning": 0, "cost_usd": "0.00015", "priced": true, "estimated": false,
        "status": "complete", "ttft_ms": null, "duration_ms": 900
    }]
}');

-- {"allowed": true, "limit": 10, "remaining": 9, "reset": 60, "window": 60}
select app.consume_rate_limit('{"scope": "sign_in", "limit": 10, "window": 60, "address": "a hash"}');

-- {"rate": {"allowed": true, "limit": 10, "remaining": 9, "reset": 60, "window": 60}, "created": true, "imported": 1}
select app.begin_import('{
    "user_id": "00000000-0000-4000-8000-000000000001", "rate_limit": 10, "rate_window": 60,
    "conversation": {
        "id": "00000000-0000-4000-8000-0000000000c2", "title": "Imported", "model": null, "tags": ["sleep"],
        "context_window": null, "created_at": "2026-01-01T00:00:00Z"
    },
    "messages": [{
        "id": "00000000-0000-4000-8000-0000000000b2", "role": "user", "content": "An old question",
        "status": "complete", "token_count": 4, "metadata": {}, "created_at": "2026-01-01T00:00:00Z"
    }]
}');

-- 1
select app.import_messages('{
    "user_id": "00000000-0000-4000-8000-000000000001",
    "conversation_id": "00000000-0000-4000-8000-0000000000c2",
    "messages": [{
        "id": "00000000-0000-4000-8000-0000000000b3", "role": "assistant", "content": "An old answer",
        "status": "complete", "token_count": 4, "metadata": {}, "created_at": "2026-01-01T00:00:01Z"
    }]
}');

-- null
select * from app.search_messages('{"text": "sleep bett", "limit": 20}');

-- {"outcome": "claimed", "claimed": 2}
select app.claim_conversations('{
    "user_id": "00000000-0000-4000-8000-000000000002",
    "anonymous_id": "00000000-0000-4000-8000-000000000001", "rate_limit": 10, "rate_window": 60
}');

-- true
select app.delete_conversation('{
    "user_id": "00000000-0000-4000-8000-000000000002", "conversation_id": "00000000-0000-4000-8000-0000000000c2"
}');

-- true
select app.today() > '2026-01-01';
