#!/usr/bin/env python3
"""Write docs/monitoring.md and the alert rules from the tables of metrics and alerts.

A test holds both.
"""

from __future__ import annotations

import json
from pathlib import Path

from alerts import ALERTS, Alert

from reconciler.core.metrics import BUCKETS, PREFIX, TABLE, Metric

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "monitoring.md"
RULES = ROOT / "packaging" / "prometheus" / "virt-reconciler.rules.yml"

HEAD = f"""\
# Monitoring

<!-- Written by scripts/make_monitoring_docs.py from the tables of metrics and alerts. -->

The daemon has metrics for Prometheus. Its [configuration](configuration.md) says where they go:

```yaml
spec:
  metrics:
    file: /var/lib/node_exporter/textfile_collector/virt-reconciler.prom   # for node_exporter
    address: 127.0.0.1                                                     # or: fetch them here
    port: 9477
```

The file is replaced every ten seconds, as a whole, and every user of the host may read it. The
address answers `GET /metrics` and `GET /healthz`, on this host only. There is no password, and
nothing secret in it. If one of them does not work, the journal says so, and the daemon continues.

Counters begin at 0 when the daemon starts. Names and labels are only added.

## Metrics

Each name begins with `{PREFIX}`. Histograms have the limits
{", ".join(f"{bucket:g}" for bucket in BUCKETS)} (seconds).

| Metric | Type | Labels | Meaning | Alerts |
|---|---|---|---|---|
"""

ALERTS_HEAD = """
`field` is the path of a manifest's field without names: `disks[].bus`. `driver` is one of
libvirt's drivers: `qemu`, `network`, `storage`.

## Alerts

[The rules as Prometheus reads them](../packaging/prometheus/virt-reconciler.rules.yml)
(`rule_files`) are the same. Their numbers suit the default settings; check them before you use
them.
"""

RULES_HEAD = """\
# Alert rules for virt-reconciler; docs/monitoring.md explains the metrics and what to do.
# Written by scripts/make_monitoring_docs.py from the table of alerts; do not edit.
groups:
  - name: virt-reconciler
    rules:
"""


def main() -> None:
    """Write the page and the rules."""
    PAGE.write_text(render(), encoding="utf-8")
    RULES.parent.mkdir(parents=True, exist_ok=True)
    RULES.write_text(render_rules(), encoding="utf-8")


def render() -> str:
    """Return the page."""
    return HEAD + "".join(map(_row, TABLE)) + ALERTS_HEAD + "".join(map(_section, ALERTS))


def render_rules() -> str:
    """Return the rules; a string of JSON's is one of YAML's too."""
    return RULES_HEAD + "".join(map(_rule, ALERTS))


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "-"
    alerts = ", ".join(
        f"[{_short(alert)}](#{alert.name.lower()})"
        for alert in ALERTS
        if metric.name in alert.metrics
    )
    return f"| `{metric.name}` | {metric.type} | {labels} | {metric.meaning} | {alerts or '-'} |\n"


def _short(alert: Alert) -> str:
    return alert.name.replace("VirtReconciler", "")


def _section(alert: Alert) -> str:
    summary = alert.summary.replace(": {{ $value }}", "")
    for label in ("driver", "field", "kind"):
        summary = summary.replace(f"{{{{ $labels.{label} }}}}", f"*{label}*")
    lasting = "" if alert.wait == "0m" else f", for {alert.wait}"
    return f"""
### {alert.name}

{summary} ({alert.severity}{lasting})

```
{alert.expression}
```

{alert.action}
"""


def _rule(alert: Alert) -> str:
    return f"""\
      - alert: {alert.name}
        expr: {json.dumps(alert.expression)}
        for: {alert.wait}
        labels:
          severity: {alert.severity}
        annotations:
          summary: {json.dumps(alert.summary)}
          description: {json.dumps(alert.action)}
"""


if __name__ == "__main__":
    main()
