"""The figures of a benchmark as a table for people."""

from __future__ import annotations

from typing import Any

NOTE = "Times are of this one run; under emulation only their ratios mean anything."

ROWS = (
    ("api_create_ms", "LightVM create, API, from the pool"),
    ("api_create_cold_ms", "LightVM create, API, cold"),
    ("lvm_create_ms", "lvm create, a whole process"),
    ("cli_create_ms", "lightvm create, a whole process"),
    ("fork_exec_ms", "fork+exec+wait of /bin/true"),
    ("xl_create_ms", "xl create of the same guest"),
)


NETWORK_ROWS = (
    ("api_create_ms", "create from the pool, no vif"),
    ("api_create_vif_ms", "create from the pool, one vif"),
    ("daytime_create_ms", "create of daytime, to ready"),
    ("first_ping_ms", "and from there to its first ping"),
    ("fork_exec_ms", "fork+exec+wait of /bin/true"),
    ("xl_create_vif_ms", "xl create of the same guest, one vif"),
)


MODES_ROWS = (
    ("xl_ms", "xl"),
    ("xs_ms", "LightVM xs"),
    ("xs_split_ms", "LightVM xs+split"),
    ("noxs_ms", "LightVM noxs"),
    ("noxs_split_ms", "LightVM noxs+split"),
    ("fork_exec_ms", "fork+exec+wait of /bin/true"),
    ("xs_split_early_ms", "xs+split, guests 6 to 15"),
    ("xs_split_late_ms", "xs+split, guests 191 to 200"),
)


ECHO_ROWS = (
    ("round_trip_ms", "a byte there and back, ms", "round_trip_to_linux"),
    ("throughput_mib_s", "there and back at once, MiB/s", "throughput_to_linux"),
)


def render_network(results: dict[str, Any]) -> str:
    """Return a table of creates with and without a vif."""
    lines = _rows(results, NETWORK_ROWS)
    ratios, requests = results["ratios"], results["xenstore_requests"]
    lines += [
        "",
        f"with a vif / without: {ratios['vif_to_no_vif']:.3f}",
        f"xl create / create from the pool, one vif: {ratios['xl_create_to_api_create_vif']:.0f}",
        f"requests to xenstored between the requests and replies of {requests['creates']} creates"
        f" with one vif: {requests['between_request_and_reply']}",
        NOTE,
    ]
    return "\n".join(lines)


def render_modes(results: dict[str, Any]) -> str:
    """Return a table of the five toolstacks."""
    ratios = results["ratios"]
    lines = _rows(results, MODES_ROWS)
    lines.append("")
    for kind in ("xs", "xs_split", "noxs", "noxs_split"):
        lines.append(f"xl / {kind.replace('_', '+')}: {ratios[f'xl_to_{kind}']:.0f}")
    lines += [f"guests 191 to 200 / guests 6 to 15: {ratios['late_to_early']:.3f}", NOTE]
    return "\n".join(lines)


def render_echo(results: dict[str, Any]) -> str:
    """Return a table of TCP to the unikernel and to the Linux guest."""
    lines = [f"{'':36} {'echo':>10} {'Linux':>10} {'ratio':>10}"]
    for key, title, ratio in ECHO_ROWS:
        row = results[key]
        quotient = results["ratios"][ratio]
        lines.append(f"{title:36} {row['echo']:10.3f} {row['linux']:10.3f} {quotient:10.3f}")
    return "\n".join([*lines, NOTE])


def render(results: dict[str, Any]) -> str:
    """Return a table of every kind of create, each beside fork+exec of the same run."""
    yardstick = results["fork_exec_ms"]["p50"]
    lines = [*_rows(results, ROWS), ""]
    for step in results["api_create_series"]:
        title = f"pooled create with {step['live_domains']} live domains"
        ratio = step["p50"] / yardstick
        lines.append(f"{title:36} {step['p50']:10.2f} {step['p99']:10.2f} {ratio:12.3f}")
    lines.append(NOTE)
    return "\n".join(lines)


def _rows(results: dict[str, Any], rows: tuple[tuple[str, str], ...]) -> list[str]:
    yardstick = results["fork_exec_ms"]["p50"]
    lines = [f"{'':36} {'p50 ms':>10} {'p99 ms':>10} {'x fork+exec':>12}"]
    for key, title in rows:
        row = results[key]
        ratio = row["p50"] / yardstick
        lines.append(f"{title:36} {row['p50']:10.2f} {row['p99']:10.2f} {ratio:12.3f}")
    return lines
