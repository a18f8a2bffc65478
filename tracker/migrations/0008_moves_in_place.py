from django.db import migrations, models

ROOM = 70  # per cent of a page that inserts fill; the rest is for rows that are written anew


def _leave_room(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for table in ("tracker_task", "tracker_plan"):
            schema_editor.execute(f"ALTER TABLE {table} SET (fillfactor = {ROOM})")


def _fill(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for table in ("tracker_task", "tracker_plan"):
            schema_editor.execute(f"ALTER TABLE {table} RESET (fillfactor)")


def _unique(model, field):
    """Keyed by the id first: so it is the only index that fits, whatever the database thinks of the table."""
    name = f"{field}_once_a_tenant"
    constraint = models.UniqueConstraint(fields=[field, "workspace", "tenant_id"], name=name)
    return migrations.RemoveConstraint(model, name), migrations.AddConstraint(model, constraint)


class Migration(migrations.Migration):
    dependencies = [
        ("tracker", "0007_rollups"),
    ]

    operations = [
        migrations.RemoveIndex(model_name="task", name="task_by_state"),
        migrations.RemoveIndex(model_name="task", name="task_open"),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(("ended_at", None)), fields=["workspace", "agent_id"], name="task_open_of_agent"
            ),
        ),
        *_unique("plan", "plan_id"),
        *_unique("task", "task_id"),
        migrations.RunPython(_leave_room, _fill),
    ]
