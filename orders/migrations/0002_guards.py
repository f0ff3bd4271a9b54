"""What the database itself refuses, whoever asks: states out of order, changes without an event, changed history."""

from django.db import migrations

GUARDS = """
create function orders_guard_task() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    if new.status <> 'pending' or new.version <> 1 then
      raise exception 'an order task begins as pending, with its first event' using errcode = 'check_violation';
    end if;
    return new;
  end if;
  if (new.id, new.public_id, new.account_id, new.principal, new.operation, new.params, new.idempotency_key,
      new.fingerprint, new.tag, new.serial_key, new.created_at, new.trading_date)
     is distinct from
     (old.id, old.public_id, old.account_id, old.principal, old.operation, old.params, old.idempotency_key,
      old.fingerprint, old.tag, old.serial_key, old.created_at, old.trading_date) then
    raise exception 'what an order task asks for is never changed' using errcode = 'check_violation';
  end if;
  if old.broker_order_id <> '' and new.broker_order_id <> old.broker_order_id then
    raise exception 'the order of a task is never exchanged for another' using errcode = 'check_violation';
  end if;
  if new.valid_until <> old.valid_until and (old.status, new.status) <> ('dead_letter', 'retrying') then
    raise exception 'only a person who tries again gives an order task more time' using errcode = 'check_violation';
  end if;
  if new.lease_token < old.lease_token then
    raise exception 'a lease never goes back' using errcode = 'check_violation';
  end if;
  if new.status <> old.status then
    if (old.status, new.status) not in (values
       ('pending', 'running'), ('pending', 'failed'),
       ('retrying', 'running'), ('retrying', 'failed'), ('retrying', 'dead_letter'),
       ('running', 'retrying'), ('running', 'completed'), ('running', 'failed'), ('running', 'unknown'),
       ('unknown', 'completed'), ('unknown', 'failed'), ('unknown', 'retrying'), ('unknown', 'dead_letter'),
       ('failed', 'completed'), ('dead_letter', 'completed'), ('dead_letter', 'retrying'), ('dead_letter', 'failed')) then
      raise exception 'an order task does not go from % to %', old.status, new.status using errcode = 'check_violation';
    end if;
    if new.version <> old.version + 1 then
      raise exception 'a change of state takes an event' using errcode = 'check_violation';
    end if;
  elsif new.version <> old.version then
    raise exception 'an event without a change of state' using errcode = 'check_violation';
  end if;
  return new;
end $$;

create trigger orders_guard_task before insert or update on orders_ordertask
  for each row execute function orders_guard_task();

create function orders_guard_event_exists() returns trigger language plpgsql as $$
begin
  if not exists (select 1 from orders_orderevent
                  where task_id = new.id and number = new.version and to_status = new.status) then
    raise exception 'order task % became % without an event', new.id, new.status using errcode = 'check_violation';
  end if;
  return null;
end $$;

-- At the end of the transaction: the task's row and its event are two statements.
create constraint trigger orders_guard_event_exists after insert or update of status, version on orders_ordertask
  deferrable initially deferred for each row execute function orders_guard_event_exists();

create function orders_refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% is only ever added to', tg_table_name using errcode = 'check_violation';
end $$;

create trigger orders_event_is_kept before update or delete on orders_orderevent
  for each row execute function orders_refuse_change();
create trigger orders_task_is_kept before delete on orders_ordertask
  for each row execute function orders_refuse_change();

-- The state of everything: a row that is always there can be locked, so that no order slips past a halt.
insert into orders_tradingstate (account_id, strategy, state, reason, set_by, set_at, epoch)
  values (null, '', 'active', '', '', statement_timestamp(), 0);
"""

NO_GUARDS = """
delete from orders_tradingstate where account_id is null;
drop trigger orders_task_is_kept on orders_ordertask;
drop trigger orders_event_is_kept on orders_orderevent;
drop trigger orders_guard_event_exists on orders_ordertask;
drop trigger orders_guard_task on orders_ordertask;
drop function orders_refuse_change();
drop function orders_guard_event_exists();
drop function orders_guard_task();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("orders", "0001_initial"),
    ]

    operations = [
        migrations.RunSQL(GUARDS, NO_GUARDS),
    ]
