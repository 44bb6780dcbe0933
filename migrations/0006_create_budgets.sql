-- The amount that a user spent on a day (UTC), and the amount reserved for running turns. The first turn of a
-- day with a budget creates the row.
create table $tables.budgets (
    user_id      uuid           not null,
    day          date           not null,
    spent_usd    numeric(18,10) not null,
    reserved_usd numeric(18,10) not null default 0,
    constraint budgets_pkey primary key (user_id, day),
    constraint budgets_not_negative check (least(spent_usd, reserved_usd) >= 0)
);

alter table $tables.budgets enable row level security;
alter table $tables.budgets force row level security;

create policy "Budgets can be read by their owner"
    on $tables.budgets for select to chat_app
    using (user_id = (select $functions.user_id()));

create policy "Budgets can be created by their owner"
    on $tables.budgets for insert to chat_app
    with check (user_id = (select $functions.user_id()));

create policy "Budgets can be changed by their owner"
    on $tables.budgets for update to chat_app
    using (user_id = (select $functions.user_id()))
    with check (user_id = (select $functions.user_id()));

grant select, insert, update on $tables.budgets to chat_app;
