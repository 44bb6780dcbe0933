-- The amounts that all anonymous users together, and all users together, spent on a day (UTC), and the amounts
-- reserved for running turns. The first turn of a day with such a budget creates the row. The table has no
-- data of a user, so each request may read and change each row.
create table $tables.shared_budgets (
    subject      text           not null,
    day          date           not null,
    spent_usd    numeric(18,10) not null default 0,
    reserved_usd numeric(18,10) not null default 0,
    constraint shared_budgets_pkey primary key (subject, day),
    constraint shared_budgets_subject_known check (subject in ('anonymous', 'total')),
    constraint shared_budgets_not_negative check (least(spent_usd, reserved_usd) >= 0)
);

alter table $tables.shared_budgets enable row level security;
alter table $tables.shared_budgets force row level security;

create policy "Shared budgets can be read by every request"
    on $tables.shared_budgets for select to chat_app using (true);

create policy "Shared budgets can be created by every request"
    on $tables.shared_budgets for insert to chat_app with check (true);

create policy "Shared budgets can be changed by every request"
    on $tables.shared_budgets for update to chat_app using (true) with check (true);

grant select, insert, update on $tables.shared_budgets to chat_app;

alter table $tables.turns
    -- The budgets in which reserved_usd is reserved: 'user', 'anonymous', 'total'. NULL where there is none,
    -- and in turns that a version without shared budgets started.
    add column reserved_for text[],
    -- The limits of a turn with a reservation: bytes of the prompt, tokens of the answer.
    add column prompt_bytes integer,
    add column max_tokens   integer,
    add constraint turns_reserved_for_known check (reserved_for <@ '{user,anonymous,total}');
