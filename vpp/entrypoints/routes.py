"""Where each operation lives in the API, for commands that go through a running service."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from vpp.entrypoints.operations import (
    alarms,
    board,
    books,
    changing,
    contacts,
    counties,
    cross_check,
    days,
    disputes,
    evening,
    events,
    fairness,
    forgetting,
    health,
    home_states,
    metering,
    money,
    nominations,
    otherwise,
    own_data,
    own_files,
    payouts,
    people,
    preview,
    prices,
    rails,
    rehearsal,
    replay,
    reports,
    sites,
    sources,
    staff_reads,
    starting,
    tracing,
    traffic,
    trail,
    write_offs,
)
from vpp.entrypoints.operations.desk import Json


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path; names in braces are arguments of the operation, the others go into the body."""

    method: str
    path: str

    @property
    def path_names(self) -> tuple[str, ...]:
        """Return the arguments that stand in the path."""
        return tuple(re.findall(r"\{(\w+)\}", self.path))


_API = "/api/v1"

ROUTES: Mapping[Callable[..., Awaitable[Json]], Route] = {
    sources.show_keys: Route("GET", f"{_API}/keys"),
    sources.list_sources: Route("GET", f"{_API}/sources"),
    sources.add_source: Route("PUT", f"{_API}/sources/{{name}}"),
    sources.approve_source: Route("POST", f"{_API}/sources/{{name}}/approve"),
    sites.list_sites: Route("GET", f"{_API}/sites"),
    sites.enroll_sites: Route("POST", f"{_API}/sites"),
    staff_reads.read_site: Route("GET", f"{_API}/sites/{{site_id}}"),
    sites.change_reserve: Route("PUT", f"{_API}/sites/{{site_id}}/reserve"),
    sites.why_site: Route("GET", f"{_API}/events/{{event_id}}/sites/{{site_id}}"),
    tracing.trace_site: Route("GET", f"{_API}/events/{{event_id}}/sites/{{site_id}}/trace"),
    sites.opt_out_site: Route("PUT", f"{_API}/events/{{event_id}}/opt-outs/{{site_id}}"),
    sites.opt_in_site: Route("DELETE", f"{_API}/events/{{event_id}}/opt-outs/{{site_id}}"),
    events.list_events: Route("GET", f"{_API}/events"),
    events.show_event: Route("GET", f"{_API}/events/{{event_id}}"),
    evening.show_evening: Route("GET", f"{_API}/events/{{event_id}}/course"),
    events.force_event: Route("POST", f"{_API}/events/{{event_id}}/force"),
    events.cancel_event: Route("POST", f"{_API}/events/{{event_id}}/cancel"),
    cross_check.check_meters: Route("GET", f"{_API}/events/{{event_id}}/meter-check"),
    cross_check.quarantine_meters: Route("POST", f"{_API}/events/{{event_id}}/meter-quarantine"),
    metering.import_readings: Route("POST", f"{_API}/meter-readings"),
    money.settle_event: Route("POST", f"{_API}/events/{{event_id}}/settlement"),
    money.settle_ended: Route("POST", f"{_API}/settlements"),
    staff_reads.read_statement: Route("GET", f"{_API}/owners/{{owner_id}}/statement"),
    days.list_days: Route("GET", f"{_API}/excluded-days"),
    days.exclude_day: Route("PUT", f"{_API}/excluded-days/{{site_id}}/{{day}}"),
    days.include_day: Route("DELETE", f"{_API}/excluded-days/{{site_id}}/{{day}}"),
    nominations.list_nominations: Route("GET", f"{_API}/nominations"),
    nominations.nominate_power: Route("PUT", f"{_API}/programs/{{program_id}}/nominations/{{month}}"),
    prices.import_prices: Route("POST", f"{_API}/wholesale-prices"),
    reports.report_event: Route("GET", f"{_API}/events/{{event_id}}/report"),
    books.correct_event: Route("POST", f"{_API}/events/{{event_id}}/correction"),
    books.export_ledger: Route("GET", f"{_API}/ledger/export/{{layout}}"),
    books.reconcile_ledger: Route("POST", f"{_API}/ledger/payments"),
    staff_reads.read_disputes: Route("GET", f"{_API}/disputes"),
    disputes.ask_dispute: Route("POST", f"{_API}/owners/{{owner_id}}/disputes/{{period}}"),
    disputes.answer_dispute: Route("POST", f"{_API}/owners/{{owner_id}}/disputes/{{period}}/answers"),
    payouts.list_payouts: Route("GET", f"{_API}/payouts"),
    payouts.total_year: Route("GET", f"{_API}/payouts/years/{{year}}"),
    payouts.show_run: Route("GET", f"{_API}/payouts/{{run_id}}"),
    payouts.run_payout: Route("PUT", f"{_API}/payouts/{{run_id}}"),
    payouts.confirm_payout: Route("POST", f"{_API}/payouts/{{run_id}}/confirmation"),
    payouts.cancel_payout: Route("POST", f"{_API}/payouts/{{run_id}}/cancellation"),
    money.verify_ledger: Route("GET", f"{_API}/ledger/verification"),
    board.show_board: Route("GET", f"{_API}/events/{{event_id}}/board"),
    board.list_fleet: Route("GET", f"{_API}/fleet"),
    health.show_health: Route("GET", f"{_API}/fleet/health"),
    traffic.show_traffic: Route("GET", f"{_API}/traffic"),
    preview.preview_event: Route("POST", f"{_API}/previews"),
    rehearsal.rehearse_event: Route("POST", f"{_API}/rehearsals"),
    starting.start_event: Route("PUT", f"{_API}/events/{{event_id}}"),
    changing.modify_event: Route("PATCH", f"{_API}/events/{{event_id}}"),
    starting.approve_event: Route("POST", f"{_API}/events/{{event_id}}/approve"),
    staff_reads.read_site_history: Route("GET", f"{_API}/sites/{{site_id}}/history"),
    fairness.show_fairness: Route("GET", f"{_API}/programs/{{program_id}}/fairness"),
    starting.stop_all: Route("POST", f"{_API}/stop-all"),
    counties.list_counties: Route("GET", f"{_API}/counties"),
    trail.list_trail: Route("GET", f"{_API}/trail"),
    rails.list_programs: Route("GET", f"{_API}/programs"),
    replay.replay_event: Route("GET", f"{_API}/events/{{event_id}}/replay"),
    otherwise.replay_otherwise: Route("GET", f"{_API}/events/{{event_id}}/replay-otherwise"),
    people.list_users: Route("GET", f"{_API}/users"),
    people.add_user: Route("PUT", f"{_API}/users/{{name}}"),
    people.make_login_link: Route("POST", f"{_API}/users/{{name}}/login-links"),
    staff_reads.read_home: Route("GET", f"{_API}/owners/{{owner_id}}/home"),
    own_files.read_green_button: Route("GET", f"{_API}/owners/{{owner_id}}/green-button"),
    staff_reads.read_history: Route("GET", f"{_API}/owners/{{owner_id}}/history"),
    staff_reads.read_event: Route("GET", f"{_API}/owners/{{owner_id}}/events/{{event_id}}"),
    own_data.export_owner: Route("GET", f"{_API}/owners/{{owner_id}}/export"),
    write_offs.write_off_owner: Route("POST", f"{_API}/owners/{{owner_id}}/write-off"),
    forgetting.forget_owner: Route("DELETE", f"{_API}/owners/{{owner_id}}"),
    own_data.leave_program: Route("POST", f"{_API}/owners/{{owner_id}}/sites/{{site_id}}/withdrawal"),
    own_data.open_calendar: Route("POST", f"{_API}/owners/{{owner_id}}/calendar"),
    own_data.close_calendar: Route("DELETE", f"{_API}/owners/{{owner_id}}/calendar"),
    staff_reads.read_contact: Route("GET", f"{_API}/owners/{{owner_id}}/contact"),
    home_states.show_home_states: Route("GET", f"{_API}/owners/{{owner_id}}/home-states"),
    contacts.keep_contact: Route("PUT", f"{_API}/owners/{{owner_id}}/contact"),
    contacts.keep_staff_contact: Route("PUT", f"{_API}/staff/{{name}}/contact"),
    alarms.list_alarms: Route("GET", f"{_API}/alarms"),
    alarms.answer_alarm: Route("POST", f"{_API}/alarms/{{key}}/answer"),
}
