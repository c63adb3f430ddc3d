"""How notices are worded: a title and one short text, in the language of whoever reads them.

Knows no channel. Names no home and no address; what is written leaves our hands.
"""

from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from vpp.domain.notice import Notice, NoticeKind

_ENGLISH: Mapping[str, tuple[str, str]] = {
    "scheduled": (
        "Battery event {day}, {starts} to {ends}",
        "Your battery may help the grid {day} from {starts} to {ends}; fuller ones come first.{reserve} You "
        "can opt out on your page at any time.",
    ),
    "moved": (
        "Battery event moved: {day}, {starts} to {ends}",
        "The event now runs {day} from {starts} to {ends}. You can opt out on your page at any time.",
    ),
    "cancelled": (
        "Battery event of {day} cancelled",
        "The event of {day}, {starts} to {ends}, was cancelled. Your battery is yours again.",
    ),
    "left_out": (
        "Battery event of {day}: your battery is not needed",
        "The event of {day}, {starts} to {ends}, was changed and does not use your battery any more. Your "
        "battery is yours again.",
    ),
    "starting": (
        "Battery event starts at {starts}",
        "Your battery may help the grid from {starts} until {ends}; fuller ones come first.{reserve} You can "
        "still opt out on your page.",
    ),
    "ended": (
        "Battery event over: {counted_kwh} kWh, ${amount_usd}",
        "In the event of {day} {counted_kwh} kWh of your battery counted and earned you ${amount_usd}{open}. "
        "Every hour of it stands on your page.",
    ),
    "unused": (
        "Battery event over: your battery was not used",
        "In the event of {day} your battery was not used, so it earned $0.00. Your page says why.",
    ),
    "test_over": (
        "Battery event over",
        "The test of {day} is over. A test is never paid and counts for nothing. Your battery is "
        "yours again.",
    ),
    "paid": ("${amount_usd} paid out to you", "${amount_usd} for your battery's help went out to you."),
    "reserve": (" It stops by itself at your reserve of {reserve_pct} %.", ""),
    "open": (" (not final: late meter readings may change it)", ""),
    "test": ("TEST, never paid: ", ""),
    "shortfall": (
        "Shortfall of {missing} in {event}",
        "{event} asks {asked} and lacks {missing} since {since}.",
    ),
    "feed_lost": (
        "No connection to the broker",
        "The broker cannot be reached since {since}. Homes keep to "
        "their leases; no signal and no answer arrives.",
    ),
    "feed_lost_vtn": (
        "No events from the VTN of {vtn}",
        "The VTN of {vtn} gives no events since {since}. What it said until then stands; "
        "what it says now is not known here. vpp doctor says what is wrong.",
    ),
    "approver_missing": (
        "{event} waits for approval",
        "{event} starts at {starts_at} and waits for {needs}. Until then no home is commanded.",
    ),
    "approver_missing_in_part": (
        "Part of {event} waits for approval",
        "{waiting} of {event}, which starts at {starts_at}, wait for approval. The rest is dispatched.",
    ),
    "approver_missing_above": (
        "Part of {event} waits for approval",
        "{event}, which starts at {starts_at}, asks for all that can be sustained and uses its "
        "source's limit. What is above it waits for approval.",
    ),
    "mass_silence": (
        "Most commanded homes went silent at once",
        "More than half of the commanded homes do not report since {since}. Plans are held as they are.",
    ),
    "signal_contested": (
        "A signal about {event} contradicts another",
        "Source {source} sent a signal about {event} that was rejected: {reason}. The event stays as "
        "it is. Ask the source whether it sent this.",
    ),
    "two_gateways": (
        "Two gateways speak with the same key",
        "Two gateways spoke at once with one key; homes: {count}. Readings of that time do not count, "
        "and nothing is paid for them. The page of the links names the homes: give each a new key.",
    ),
    "record_lost": (
        "Homes hold commands that are not on record",
        "Homes say that they obey commands which this service never issued; homes: {count}. Each is told at "
        "once what stands here. After a restore that is to be expected, and what owners, operators and the "
        "grid said since the backup is lost: cancel what was cancelled, and enter opt-outs again. Without "
        "one, somebody else commands these homes or speaks for them: give them new keys.",
    ),
    "counters_doubted": (
        "Counters of {event} differ from the homes' own power",
        "In {event} what homes counted and the power they told do not agree; homes: {count}. They "
        "are paid by their counters. vpp meter check {subject} names the hours; with --quarantine they pay "
        "nothing.",
    ),
    "question_waits": (
        "Owners wait for an answer about {event}",
        "What owners asked about {event} has had no answer since {asked_at}; questions: {count}. The page of "
        "questions has them, and so has vpp dispute list.",
    ),
    "limit_waits": (
        "A higher limit of source {subject} waits for approval",
        "{actor} asked on {asked_at} that source {subject} may dispatch {asked_mw} MW without approval. It "
        "stays at {limit_mw} MW until somebody else says yes: vpp source approve {subject}. To set the old "
        "limit again with vpp source add takes the wish back.",
    ),
    "about": ("", "\n{event} ({subject}), {program}, {day}, {starts} to {ends}."),
    "answer": ("", "\nAnswer: vpp alarm answer {alarm}"),
}

_SPANISH: Mapping[str, tuple[str, str]] = {
    "scheduled": (
        "Evento de batería {day}, de {starts} a {ends}",
        "Su batería puede ayudar a la red {day} de {starts} a {ends}; las más llenas van primero.{reserve} "
        "Usted puede decir que no en su página en todo momento.",
    ),
    "moved": (
        "Evento de batería cambiado: {day}, de {starts} a {ends}",
        "El evento es ahora {day} de {starts} a {ends}. Usted puede decir que no en su página en "
        "todo momento.",
    ),
    "cancelled": (
        "Evento de batería de {day} cancelado",
        "El evento de {day}, de {starts} a {ends}, se canceló. Su batería es suya de nuevo.",
    ),
    "left_out": (
        "Evento de batería de {day}: su batería no hace falta",
        "El evento de {day}, de {starts} a {ends}, cambió y ya no usa su batería. Su batería es "
        "suya de nuevo.",
    ),
    "starting": (
        "El evento de batería empieza a las {starts}",
        "Su batería puede ayudar a la red desde las {starts} hasta las {ends}; las más llenas van primero."
        "{reserve} Usted aún puede decir que no en su página.",
    ),
    "ended": (
        "Evento de batería terminado: {counted_kwh} kWh, ${amount_usd}",
        "En el evento de {day} contaron {counted_kwh} kWh de su batería y usted ganó ${amount_usd}{open}. "
        "Cada hora está en su página.",
    ),
    "unused": (
        "Evento de batería terminado: su batería no se usó",
        "En el evento de {day} su batería no se usó, así que ganó $0.00. Su página dice por qué.",
    ),
    "test_over": (
        "Evento de batería terminado",
        "La prueba de {day} terminó. Una prueba no se paga ni cuenta para nada. Su batería es suya de nuevo.",
    ),
    "paid": ("Se le pagaron ${amount_usd}", "Salieron para usted ${amount_usd} por la ayuda de su batería."),
    "reserve": (" Se detiene sola al llegar a su reserva de {reserve_pct} %.", ""),
    "open": (" (no definitivo: lecturas que lleguen tarde pueden cambiarlo)", ""),
    "test": ("PRUEBA, no se paga: ", ""),
    "shortfall": (
        "Faltan {missing} en {event}",
        "{event} pide {asked} y le faltan {missing} desde {since}.",
    ),
    "feed_lost": (
        "Sin conexión con el broker",
        "No se alcanza el broker desde {since}. Las casas siguen sus "
        "plazos; no llega ninguna señal ni respuesta.",
    ),
    "feed_lost_vtn": (
        "Sin eventos del VTN de {vtn}",
        "El VTN de {vtn} no da eventos desde {since}. Lo que dijo hasta entonces vale; lo que "
        "dice ahora no se conoce aquí. vpp doctor dice qué falla.",
    ),
    "approver_missing": (
        "{event} espera aprobación",
        "{event} empieza el {starts_at} y espera {needs}. Hasta entonces no se ordena nada.",
    ),
    "approver_missing_in_part": (
        "Una parte de {event} espera aprobación",
        "{waiting} de {event}, que empieza el {starts_at}, esperan aprobación. El resto se ordena.",
    ),
    "approver_missing_above": (
        "Una parte de {event} espera aprobación",
        "{event}, que empieza el {starts_at}, pide todo lo que se pueda sostener y usa el límite "
        "de su fuente. Lo que lo pasa espera aprobación.",
    ),
    "mass_silence": (
        "La mayoría de las casas calló a la vez",
        "Más de la mitad de las casas con órdenes no informa desde {since}. Los planes quedan como están.",
    ),
    "signal_contested": (
        "Una señal sobre {event} contradice a otra",
        "La fuente {source} envió sobre {event} una señal que se rechazó: {reason}. El evento "
        "queda como está. Pregunte a la fuente si la envió.",
    ),
    "two_gateways": (
        "Dos gateways hablan con la misma clave",
        "Dos gateways hablaron a la vez con una clave; casas: {count}. Las lecturas de ese tiempo no "
        "cuentan y no se paga nada por ellas. La página de enlaces las nombra: dé a cada casa otra clave.",
    ),
    "record_lost": (
        "Hay casas con órdenes que no constan",
        "Hay casas que dicen obedecer órdenes que este servicio nunca dio; casas: {count}. A cada una se le "
        "dice enseguida lo que vale aquí. Tras restaurar una copia es de esperar, y lo que dijeron desde la "
        "copia dueños, operadores y la red se perdió: cancele lo cancelado y anote otra vez los noes. Si no, "
        "alguien más ordena a estas casas o habla por ellas: deles claves nuevas.",
    ),
    "counters_doubted": (
        "Los contadores de {event} difieren de la potencia de las casas",
        "En {event} lo que contaron las casas y la potencia que dijeron no concuerdan; casas: "
        "{count}. Se les paga por sus contadores. vpp meter check {subject} nombra las horas; con "
        "--quarantine no se pagan.",
    ),
    "question_waits": (
        "Hay dueños que esperan respuesta sobre {event}",
        "Lo que los dueños preguntaron sobre {event} sigue sin respuesta desde {asked_at}; preguntas: "
        "{count}. Están en la página de preguntas y en vpp dispute list.",
    ),
    "limit_waits": (
        "Un límite mayor de la fuente {subject} espera aprobación",
        "{actor} pidió el {asked_at} que la fuente {subject} pueda despachar {asked_mw} MW sin aprobación. "
        "Sigue en {limit_mw} MW hasta que otra persona diga que sí: vpp source approve {subject}. Fijar de "
        "nuevo el límite de antes con vpp source add retira el pedido.",
    ),
    "about": ("", "\n{event} ({subject}), {program}, {day}, de {starts} a {ends}."),
    "answer": ("", "\nResponder: vpp alarm answer {alarm}"),
}

TEXTS: Mapping[str, Mapping[str, tuple[str, str]]] = {"en": _ENGLISH, "es": _SPANISH}
_DAYS = {"en": "Mon Tue Wed Thu Fri Sat Sun", "es": "lun mar mié jue vie sáb dom"}
_MONTHS = {
    "en": "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
    "es": "ene feb mar abr may jun jul ago sep oct nov dic",
}


def word_notice(notice: Notice, language: str) -> tuple[str, str]:
    """Return the title and the text of a notice; an unknown language is worded in English."""
    code = language if language in TEXTS else "en"
    texts, facts = TEXTS[code], dict(notice.facts)
    values = {**facts, "subject": notice.subject, "event": facts.get("name") or notice.subject}
    values |= _times(facts, code) | _powers(facts)
    values["reserve"] = texts["reserve"][0].format(**values) if "reserve_pct" in facts else ""
    values["open"] = "" if facts.get("final") else texts["open"][0]
    title, text = (part.format(**values) for part in texts[_which(notice)])
    if facts.get("test"):
        title = texts["test"][0] + title
    if "alarm" in facts and "program" in facts and "day" in values:
        text += texts["about"][1].format(**values)
    if "alarm" in facts:
        text += texts["answer"][1].format(**values)
    return title, text


def _which(notice: Notice) -> str:
    if notice.kind is NoticeKind.CHANGED:
        return next((word for word in ("cancelled", "left_out") if notice.facts.get(word)), "moved")
    if notice.kind is NoticeKind.ENDED and notice.facts.get("test"):
        return "test_over"
    if notice.kind is NoticeKind.ENDED and not notice.facts.get("used"):
        return "unused"
    if notice.kind is NoticeKind.APPROVER_MISSING and notice.facts.get("part"):
        return "approver_missing_in_part" if notice.facts["waiting_kw"] else "approver_missing_above"
    if notice.kind is NoticeKind.FEED_LOST and notice.facts.get("vtn"):
        return "feed_lost_vtn"
    return notice.kind.value


def _times(facts: Mapping[str, str], code: str) -> dict[str, str]:
    zone = ZoneInfo(facts.get("zone", "UTC"))
    times = {
        name: datetime.fromisoformat(facts[name]).astimezone(zone)
        for name in ("raised_at", "starts_at", "ends_at", "asked_at")
        if name in facts
    }
    found = {name: f"{_day(at, code)}, {_clock(at, code)}" for name, at in times.items()}
    found["since"] = found.get("raised_at", "")
    if "starts_at" in times and "ends_at" in times:
        found["day"] = _day(times["starts_at"], code)
        found |= {name: _clock(times[f"{name}_at"], code) for name in ("starts", "ends")}
    return found


def _powers(facts: Mapping[str, str]) -> dict[str, str]:
    """Return every ``…_kw`` without its unit's name as people read power: kW, from a thousand on MW."""
    told = {
        name.removesuffix("_kw"): float(facts[name]) for name in facts if name.endswith("_kw") and facts[name]
    }
    return {name: f"{kw / 1000:,.1f} MW" if kw >= 1_000 else f"{kw:,.1f} kW" for name, kw in told.items()}


def _day(at: datetime, code: str) -> str:
    weekday, month = _DAYS[code].split()[at.weekday()], _MONTHS[code].split()[at.month - 1]
    return f"{weekday} {month} {at.day}" if code == "en" else f"{weekday} {at.day} {month}"


def _clock(at: datetime, code: str) -> str:
    halves = ("AM", "PM") if code == "en" else ("a. m.", "p. m.")
    return f"{at.hour % 12 or 12}:{at:%M} {halves[at.hour >= 12]} {at:%Z}"
