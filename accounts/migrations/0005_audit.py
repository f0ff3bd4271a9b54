"""The audit's tables, and the triggers that chain them and keep them from being changed."""

import uuid

import django.db.models.deletion
from django.db import migrations, models

TRIGGERS = """
CREATE FUNCTION accounts_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit only grows: % of % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER accounts_auditevent_only_grows BEFORE UPDATE OR DELETE ON accounts_auditevent
    FOR EACH ROW EXECUTE FUNCTION accounts_audit_refuse();
CREATE TRIGGER accounts_auditlink_only_grows BEFORE UPDATE OR DELETE ON accounts_auditlink
    FOR EACH ROW EXECUTE FUNCTION accounts_audit_refuse();
CREATE TRIGGER accounts_auditevent_not_emptied BEFORE TRUNCATE ON accounts_auditevent
    FOR EACH STATEMENT EXECUTE FUNCTION accounts_audit_refuse();
CREATE TRIGGER accounts_auditlink_not_emptied BEFORE TRUNCATE ON accounts_auditlink
    FOR EACH STATEMENT EXECUTE FUNCTION accounts_audit_refuse();

-- Runs at commit: the lock is held for the moment that a commit takes, however long the transaction was.
CREATE FUNCTION accounts_audit_link() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    head accounts_auditlink;
    before text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('accounts_auditlink', 0));
    SELECT * INTO head FROM accounts_auditlink ORDER BY position DESC LIMIT 1;
    before := coalesce(head.hash, repeat('0', 64));
    INSERT INTO accounts_auditlink (position, event_id, previous, hash)
    VALUES (coalesce(head.position, 0) + 1, NEW.id, before,
            encode(sha256(convert_to(before || NEW.digest, 'UTF8')), 'hex'));
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER accounts_auditevent_linked AFTER INSERT ON accounts_auditevent
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION accounts_audit_link();
"""

UNDO = """
DROP TRIGGER accounts_auditevent_linked ON accounts_auditevent;
DROP TRIGGER accounts_auditevent_only_grows ON accounts_auditevent;
DROP TRIGGER accounts_auditevent_not_emptied ON accounts_auditevent;
DROP TRIGGER accounts_auditlink_only_grows ON accounts_auditlink;
DROP TRIGGER accounts_auditlink_not_emptied ON accounts_auditlink;
DROP FUNCTION accounts_audit_link();
DROP FUNCTION accounts_audit_refuse();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_data_failover"),
    ]

    operations = [
        migrations.CreateModel(
            name="AuditEvent",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("at", models.DateTimeField(db_index=True, help_text="System time.")),
                ("kind", models.CharField(max_length=40)),
                (
                    "actor",
                    models.CharField(
                        db_index=True, help_text="Who did it, as user:3 or apikey:abcd1234.", max_length=300
                    ),
                ),
                ("actor_label", models.CharField(blank=True, help_text="What they were called then.", max_length=200)),
                (
                    "account",
                    models.CharField(
                        blank=True, db_index=True, help_text="The Kite user id, if one matters.", max_length=12
                    ),
                ),
                ("address", models.CharField(blank=True, max_length=45)),
                ("request_id", models.CharField(blank=True, max_length=64)),
                ("details", models.JSONField(default=dict)),
                (
                    "digest",
                    models.CharField(help_text="SHA-256 of the canonical form of the fields above.", max_length=64),
                ),
            ],
            options={
                "verbose_name": "audit event",
                "indexes": [models.Index(fields=["kind", "at"], name="accounts_audit_kind_at")],
            },
        ),
        migrations.CreateModel(
            name="AuditLink",
            fields=[
                ("position", models.BigIntegerField(primary_key=True, serialize=False)),
                (
                    "previous",
                    models.CharField(help_text="The hash of the position before; zeros at the first.", max_length=64),
                ),
                (
                    "hash",
                    models.CharField(help_text="SHA-256 of `previous` and the event's digest, as text.", max_length=64),
                ),
                (
                    "event",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="link", to="accounts.auditevent"
                    ),
                ),
            ],
            options={
                "verbose_name": "audit link",
            },
        ),
        migrations.RunSQL(TRIGGERS, UNDO),
    ]
