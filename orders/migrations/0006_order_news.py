"""Each change of a task, of an order at the broker, or of the kill switch leaves a row of news in its transaction."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

TELL = """
create function orders_tell_task() returns trigger language plpgsql as $$
begin
  insert into orders_ordernews (account_id, kind, reference, payload, at)
  select task.account_id, 'task', task.public_id::text, jsonb_build_object(
           'operation', task.operation, 'status', new.to_status, 'from_status', new.from_status,
           'version', new.number, 'reason', new.reason, 'actor', new.actor, 'attempts', task.attempts,
           'params', task.params, 'tag', task.tag, 'principal', task.principal,
           'broker_order_id', task.broker_order_id, 'error_code', task.error_code,
           'error_message', task.error_message, 'http_status', task.http_status,
           'is_late_arrival', task.is_late_arrival, 'trading_date', task.trading_date,
           'created_at', task.created_at, 'valid_until', task.valid_until, 'finished_at', task.finished_at),
         new.at
    from orders_ordertask as task where task.id = new.task_id;
  return null;
end $$;
create trigger orders_event_is_told after insert on orders_orderevent
  for each row execute function orders_tell_task();

create function orders_told_of(shown orders_brokerorder) returns jsonb language sql stable as $$
  select to_jsonb(shown) - array['id', 'account_id', 'task_id', 'source', 'first_seen_at', 'updated_at']
         || jsonb_build_object(
              'task', (select task.public_id from orders_ordertask as task where task.id = shown.task_id),
              'price', shown.price::text, 'trigger_price', shown.trigger_price::text,
              'average_price', shown.average_price::text)
$$;

create function orders_tell_broker_order() returns trigger language plpgsql as $$
begin
  -- Where the news came from, and when, is no news.
  if tg_op = 'UPDATE' and orders_told_of(new) = orders_told_of(old) then
    return null;
  end if;
  insert into orders_ordernews (account_id, kind, reference, payload, at)
  values (new.account_id, 'broker_order', new.order_id, orders_told_of(new), statement_timestamp());
  return null;
end $$;
create trigger orders_brokerorder_is_told after insert or update on orders_brokerorder
  for each row execute function orders_tell_broker_order();

create function orders_tell_trading_state() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' and new.state = 'active' then
    return null;
  end if;
  if tg_op = 'UPDATE' and (new.state, new.reason) is not distinct from (old.state, old.reason) then
    return null;
  end if;
  -- What is said of everything is news of each account.
  insert into orders_ordernews (account_id, kind, reference, payload, at)
  select account.id, 'trading_state',
         case when new.account_id is null then 'everything' when new.strategy = '' then 'account' else 'strategy' end,
         jsonb_build_object('state', new.state, 'strategy', new.strategy, 'reason', new.reason,
                            'set_by', new.set_by, 'epoch', new.epoch),
         statement_timestamp()
    from accounts_tradingaccount as account
   where new.account_id is null or account.id = new.account_id;
  return null;
end $$;
create trigger orders_state_is_told after insert or update on orders_tradingstate
  for each row execute function orders_tell_trading_state();

create function orders_guard_news() returns trigger language plpgsql as $$
begin
  if old.seq is not null or (new.id, new.account_id, new.kind, new.reference, new.payload, new.at)
     is distinct from (old.id, old.account_id, old.kind, old.reference, old.payload, old.at) then
    raise exception 'news are never changed' using errcode = 'check_violation';
  end if;
  return new;
end $$;
create trigger orders_news_is_kept before update on orders_ordernews
  for each row execute function orders_guard_news();
"""

DO_NOT_TELL = """
drop trigger orders_news_is_kept on orders_ordernews;
drop trigger orders_state_is_told on orders_tradingstate;
drop trigger orders_brokerorder_is_told on orders_brokerorder;
drop trigger orders_event_is_told on orders_orderevent;
drop function orders_guard_news();
drop function orders_tell_trading_state();
drop function orders_tell_broker_order();
drop function orders_told_of(orders_brokerorder);
drop function orders_tell_task();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0007_socket_ticket"),
        ("orders", "0005_news"),
    ]

    operations = [
        migrations.CreateModel(
            name="OrderNews",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("task", "Task"),
                            ("broker_order", "Broker Order"),
                            ("trading_state", "Trading State"),
                        ],
                        max_length=15,
                    ),
                ),
                (
                    "reference",
                    models.CharField(
                        help_text="The task's id, the broker's order id, or what is stopped.", max_length=64
                    ),
                ),
                ("payload", models.JSONField()),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("seq", models.PositiveBigIntegerField(blank=True, null=True)),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.tradingaccount"
                    ),
                ),
            ],
            options={"ordering": ["account", "seq"]},
        ),
        migrations.CreateModel(
            name="OrderNewsHead",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("seq", models.PositiveBigIntegerField(default=0)),
                (
                    "account",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.tradingaccount"
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="ordernews",
            index=models.Index(
                condition=models.Q(("seq", None)), fields=["account", "id"], name="orders_news_unnumbered"
            ),
        ),
        migrations.AddIndex(model_name="ordernews", index=models.Index(fields=["at"], name="orders_news_age")),
        migrations.AddConstraint(
            model_name="ordernews",
            constraint=models.UniqueConstraint(fields=("account", "seq"), name="orders_news_seq"),
        ),
        migrations.RunSQL(TELL, DO_NOT_TELL),
    ]
