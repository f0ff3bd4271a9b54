"""What was known of the price when a task was taken on; never changed, like the rest of what it asks for."""

from django.db import migrations, models

GUARD = """
create or replace function orders_guard_task() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    if new.status <> 'pending' or new.version <> 1 then
      raise exception 'an order task begins as pending, with its first event' using errcode = 'check_violation';
    end if;
    return new;
  end if;
  if (new.id, new.public_id, new.account_id, new.principal, new.operation, new.params, new.idempotency_key,
      new.fingerprint, new.tag, new.serial_key, new.created_at, new.trading_date, new.decision)
     is distinct from
     (old.id, old.public_id, old.account_id, old.principal, old.operation, old.params, old.idempotency_key,
      old.fingerprint, old.tag, old.serial_key, old.created_at, old.trading_date, old.decision) then
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
"""

GUARD_BEFORE = """
create or replace function orders_guard_task() returns trigger language plpgsql as $$
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
"""


class Migration(migrations.Migration):
    dependencies = [
        ("orders", "0002_guards"),
    ]

    operations = [
        migrations.AddField(
            model_name="ordertask",
            name="decision",
            field=models.JSONField(
                default=dict, help_text="The price that was known when it was taken on; empty if none was."
            ),
        ),
        migrations.RunSQL(GUARD, GUARD_BEFORE),
    ]
