-- Each turn has a hash of its request, with and without an idempotency key. A client that lost its connection
-- and repeats a request without a key gets the turn of this request.
alter table $tables.turns
    drop constraint turns_key_with_hash,
    add constraint turns_key_with_hash check (idempotency_key is null or request_hash is not null);

create index turns_by_request
    on $tables.turns (user_id, request_hash) where idempotency_key is null;
