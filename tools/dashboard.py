"""Generate the Grafana dashboard from its panels: `python -m tools.dashboard`. A test compares the two."""

import json
import re
from typing import Any

from tools.documents import OPERATIONS, ROOT
from tools.panels import ROWS, Panel

DASHBOARD = ROOT / "docker" / "grafana" / "dashboards" / "twins.json"
SOURCE = {"type": "prometheus", "uid": "prometheus"}
WIDTH = 24  # of a row, in grid units of Grafana


def runbook() -> str:
    """Return the sections on alerts from the operations document."""
    text = OPERATIONS.read_text("utf-8").partition("\n## Alerts\n")[2].partition("\n## ")[0]
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).strip()  # relative links do not work in Grafana


def query(index: int, legend: str, expression: str, panel: Panel) -> dict[str, Any]:
    """Return one target of a panel."""
    form = "heatmap" if panel.kind == "heatmap" else "time_series"
    return {
        "refId": chr(ord("A") + index),
        "datasource": SOURCE,
        "expr": expression,
        "legendFormat": legend,
        "format": form,
    }


def panel_json(panel: Panel, **position: Any) -> dict[str, Any]:
    """Return a panel in the JSON of Grafana."""
    custom = {"fillOpacity": 10, "stacking": {"mode": "normal"}} if panel.stacked else {}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "targets": [query(i, legend, text, panel) for i, (legend, text) in enumerate(panel.queries.items())],
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []},
        "options": panel.options,
        **position,
    }


def panels() -> list[dict[str, Any]]:
    """Return all panels, row by row, and the runbook."""
    made: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        made.append({"type": "row", "title": title, "id": len(made) + 1, "gridPos": grid(0, y, WIDTH, 1), "panels": []})
        x, y = 0, y + 1
        for panel in row:
            if x + panel.width > WIDTH:
                x, y = 0, y + panel.height
            made.append(panel_json(panel, id=len(made) + 1, gridPos=grid(x, y, panel.width, panel.height)))
            x += panel.width
        y += row[-1].height
    return [
        *made,
        {
            "type": "text",
            "title": "Runbook",
            "id": len(made) + 1,
            "gridPos": grid(0, y, WIDTH, 24),
            "options": {"mode": "markdown", "content": runbook()},
        },
    ]


def grid(x: int, y: int, width: int, height: int) -> dict[str, int]:
    """Return the position and size of a panel."""
    return {"x": x, "y": y, "w": width, "h": height}


def dashboard() -> dict[str, Any]:
    """Return the whole dashboard."""
    made = panels()
    to_runbook = {
        "type": "link",
        "title": "Runbook",
        "icon": "doc",
        "url": f"/d/twins?viewPanel={made[-1]['id']}",
        "keepTime": True,
    }
    model = {
        "type": "query",
        "name": "model",
        "label": "Model",
        "datasource": SOURCE,
        "query": {"query": "label_values(twins_model_load_seconds, model)", "refId": "model"},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }
    return {
        "uid": "twins",
        "title": "Twins",
        "schemaVersion": 38,
        "editable": False,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "links": [to_runbook],
        "templating": {"list": [model]},
        "panels": made,
    }


def dashboard_text() -> str:
    """Return the text of the dashboard file."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    DASHBOARD.write_text(dashboard_text(), "utf-8")
