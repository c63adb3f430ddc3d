"""What only a real broker and foreign programs can show."""

import asyncio
import datetime as dt
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.mosquitto import Mosquitto, program
from vpp.adapters.mqtt import Access, Backoff, MqttTransport, NotABrokerUrl, NotATopic, TlsFiles
from vpp.ports import Packet

WITHIN_S = 5.0
QUICK = Backoff(first_s=0.05, longest_s=0.2)


def client(access: Access, *filters: str, incoming_limit: int = 1000) -> MqttTransport:
    return MqttTransport(
        access, filters=filters, jitter=lambda: 0.9, backoff=QUICK, incoming_limit=incoming_limit
    )


def local(broker: Mosquitto, name: str) -> Access:
    return Access.from_url(broker.url, client_id=name)


async def heard(transport: MqttTransport, count: int) -> list[bytes]:
    found: list[bytes] = []
    async with asyncio.timeout(WITHIN_S):
        while len(found) < count:
            found += [packet.payload for packet in await transport.receive()]
    return found


async def first_problem(transport: MqttTransport) -> str:
    async with asyncio.timeout(WITHIN_S):
        while True:
            if transport.last_problem is not None:
                return transport.last_problem
            await asyncio.sleep(0.05)


async def test_a_foreign_program_is_heard_and_hears_us(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker, client(local(broker, "controller"), "grid/#") as controller:
        await controller.wait_connected()

        await broker.publish(Packet("grid/v1/caiso/event", b'{"object":{}}'))
        listener = await broker.hear("vpp/#", messages=1)
        await controller.send([Packet("vpp/v1/0a/s-1/command", b"two\nlines")])
        printed, _ = await asyncio.wait_for(listener.communicate(), WITHIN_S)

        assert await heard(controller, 1) == [b'{"object":{}}']
        assert b"vpp/v1/0a/s-1/command two\nlines" in printed


async def test_packets_in_flight_when_the_broker_dies_are_sent_again(tmp_path: Path) -> None:
    async with (
        Mosquitto(tmp_path) as broker,
        client(local(broker, "home"), "command") as home,
        client(local(broker, "controller")) as controller,
    ):
        await home.wait_connected()
        await controller.wait_connected()

        broker.pause()
        await controller.send([Packet("command", b"%d" % number) for number in range(200)])
        await asyncio.sleep(0.2)  # on the wire, but the broker has read none of it
        await broker.kill()
        await broker.start()
        await home.wait_connected()

        # The controller may be back before the home listens: what it sent then is the home's to miss.
        await controller.send([Packet("command", b"last")])
        async with asyncio.timeout(WITHIN_S):
            while b"last" not in [packet.payload for packet in home.received_now()]:
                await controller.send([Packet("command", b"last")])
                await asyncio.sleep(0.1)
            await controller.flush()
        assert controller.sent == controller.taken


async def test_a_wrong_password_is_said_and_tried_again(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    making = await asyncio.create_subprocess_exec(
        program("mosquitto_passwd"), "-b", "-c", str(passwords), "vpp", "right"
    )
    await making.wait()
    async with Mosquitto(tmp_path, extra=f"allow_anonymous false\npassword_file {passwords}") as broker:
        url = f"mqtt://vpp:right@127.0.0.1:{broker.port}"
        async with client(Access.from_url(url, client_id="right")) as right:
            await asyncio.wait_for(right.wait_connected(), WITHIN_S)
        async with client(Access.from_url(url.replace("right", "wrong"), client_id="wrong")) as wrong:
            problem = await first_problem(wrong)
            assert not wrong.connected
            assert "Not authorized" in problem


async def test_a_controller_that_falls_behind_sheds_telemetry_and_keeps_every_acknowledgement(
    tmp_path: Path,
) -> None:
    async with (
        Mosquitto(tmp_path) as broker,
        client(local(broker, "controller"), "vpp/#", incoming_limit=100) as controller,
        client(local(broker, "homes")) as homes,
    ):
        await controller.wait_connected()
        await homes.send([Packet("vpp/s-1/telemetry", b"sample", qos=0) for _ in range(150)])
        await homes.send([Packet("vpp/s-1/ack", b"%d" % number) for number in range(300)])
        async with asyncio.timeout(WITHIN_S):
            while controller.connected:  # noqa: ASYNC110  # it leaves when its queue is full
                await asyncio.sleep(0.01)

        missing = {b"%d" % number for number in range(300)}
        async with asyncio.timeout(WITHIN_S):
            while missing:  # some come twice: their receipt was lost with the connection
                missing -= {packet.payload for packet in await controller.receive()}

        assert controller.shed_incoming == 50
        await asyncio.wait_for(controller.wait_connected(), WITHIN_S)
        assert controller.connections > 1  # it had left the broker, which kept what was promised


@pytest.mark.filterwarnings(  # paho leaves a socket whose handshake failed to the garbage collector
    "ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
)
async def test_the_connection_is_encrypted_and_the_broker_proves_itself(tmp_path: Path) -> None:
    trusted = _certificate(tmp_path, "broker")
    other = _certificate(tmp_path, "stranger")
    extra = f"allow_anonymous true\ncertfile {trusted.certificate}\nkeyfile {trusted.key}"
    async with Mosquitto(tmp_path, extra=extra) as broker:
        url = broker.url.replace("mqtt:", "mqtts:")
        believing = Access.from_url(url, client_id="a", tls=TlsFiles(ca=trusted.certificate))
        doubting = Access.from_url(url, client_id="b", tls=TlsFiles(ca=other.certificate))
        async with client(believing, "t") as encrypted:
            await asyncio.wait_for(encrypted.wait_connected(), WITHIN_S)
            await encrypted.send([Packet("t", b"secret")])
            assert await heard(encrypted, 1) == [b"secret"]
        async with client(doubting) as refused:
            problem = await first_problem(refused)
            assert not refused.connected
            assert "certificate" in problem.lower()


async def test_the_shipped_configuration_takes_a_home_by_its_certificate_only(tmp_path: Path) -> None:
    home_files, extra = _shipped(tmp_path)

    async with Mosquitto(tmp_path, extra=extra) as broker:
        url = broker.url.replace("mqtt:", "mqtts:")
        known = TlsFiles(str(tmp_path / "ca.crt"), home_files.certificate, home_files.key)
        async with client(Access.from_url(url, client_id="s-7f3a", tls=known)) as home:
            await asyncio.wait_for(home.wait_connected(), WITHIN_S)
        nameless = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
        reader, _ = await asyncio.open_connection("127.0.0.1", broker.port, ssl=nameless)
        with pytest.raises(ssl.SSLError, match="certificate required"):
            await reader.read(1)


def _shipped(folder: Path) -> tuple[TlsFiles, str]:
    """Return a home's files, and the shipped configuration with every path inside the test's folder."""
    broker, home = _certificate(folder, "broker"), _certificate(folder, "s-7f3a")
    (folder / "ca.crt").write_bytes(b"".join(Path(str(each.ca)).read_bytes() for each in (broker, home)))
    lines = (Path(__file__).parents[2] / "config" / "mosquitto.conf").read_text().splitlines()
    # The test's own broker names its port, and says these already.
    own = ("listener", "set_tcp_nodelay", "persistence true", "max_queued_messages", "max_inflight_messages")
    extra = "\n".join(line for line in lines if not line.startswith(own))
    return home, extra.replace("/etc/vpp/certs", str(folder)).replace("/var/lib/mosquitto", str(folder))


def _certificate(folder: Path, name: str) -> TlsFiles:
    """Write a key and a certificate for 127.0.0.1 that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    certificate_path, key_path = folder / f"{name}.crt", folder / f"{name}.key"
    certificate_path.write_bytes(certificate.public_bytes(pem))
    key_path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return TlsFiles(ca=str(certificate_path), certificate=str(certificate_path), key=str(key_path))


def test_a_broker_address_is_read_without_showing_its_password() -> None:
    access = Access.from_url("mqtts://vpp:p%40ss@broker.example", client_id="c")

    assert (access.host, access.port, access.username, access.password) == (
        "broker.example", 8883, "vpp", "p@ss",
    )  # fmt: skip
    assert access.tls == TlsFiles()
    assert "p@ss" not in repr(access)


@pytest.mark.parametrize("url", ["", "broker:1883", "http://broker", "mqtt://", "mqtt://broker:99999"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(NotABrokerUrl):
        Access.from_url(url, client_id="c")


@pytest.mark.parametrize("topic", ["", "vpp/+/command", "vpp/#"])
async def test_a_filter_is_no_topic_to_publish_to(topic: str) -> None:
    transport = MqttTransport(Access("127.0.0.1", 1, "c"), jitter=lambda: 0.5)

    with pytest.raises(NotATopic):
        await transport.send([Packet("good", b""), Packet(topic, b"")])

    assert transport.taken == 0


async def test_a_full_queue_gives_up_commands_for_stops_and_never_the_reverse() -> None:
    transport = MqttTransport(Access("127.0.0.1", 1, "c"), jitter=lambda: 0.5, outgoing_limit=2)
    await transport.send([Packet("command", b"1"), Packet("command", b"2")])

    await transport.send(
        [Packet("stop", b"3", lane=0), Packet("command", b"4"), Packet("stop", b"5", lane=0)]
    )
    await transport.send([Packet("command", b"6")])

    waiting = [transport._lanes.take().payload for _ in range(len(transport._lanes))]
    assert waiting == [b"3", b"5"]
    assert transport.shed_outgoing == 4


async def test_stops_do_not_wait_until_the_broker_has_confirmed_what_left_before(tmp_path: Path) -> None:
    async with (
        Mosquitto(tmp_path) as broker,
        MqttTransport(local(broker, "controller"), jitter=lambda: 0.5, in_flight=2) as controller,
    ):
        await controller.wait_connected()

        await controller.send([Packet("command", b"1") for _ in range(5)])
        held_back = len(controller._lanes)
        await controller.send([Packet("stop", b"2", lane=0) for _ in range(5)])

        assert held_back == 3
        assert not controller._lanes.urgent
        assert len(controller._lanes) == 3  # commands, as before
        await asyncio.wait_for(controller.flush(), WITHIN_S)
        assert controller.sent == 10


async def test_answers_and_cancels_are_read_ahead_of_a_flood_of_samples() -> None:
    transport = MqttTransport(Access("127.0.0.1", 1, "c"), jitter=lambda: 0.5)
    for number in range(100):
        transport._arrive(Packet("vpp/v1/00/s-1/telemetry", b"%d" % number, qos=0))
    transport._arrive(Packet("vpp/v1/00/s-1/ack", b"accepted"))
    transport._arrive(Packet("grid/v1/operator/event", b"cancel"))

    first = [packet.payload for packet in transport.received_now(8)]
    rest = [packet.payload for packet in transport.received_now()]

    assert first == [b"accepted", b"cancel", *(b"%d" % number for number in range(6))]
    assert rest == [b"%d" % number for number in range(6, 100)]


async def test_a_flood_of_promised_packets_leaves_a_quarter_of_each_batch_to_samples() -> None:
    transport = MqttTransport(Access("127.0.0.1", 1, "c"), jitter=lambda: 0.5)
    for _ in range(100):
        transport._arrive(Packet("vpp/v1/00/s-1/meter", b"reading"))
        transport._arrive(Packet("vpp/v1/00/s-1/telemetry", b"sample", qos=0))

    batch = [packet.payload for packet in transport.received_now(8)]

    assert batch == [b"reading"] * 6 + [b"sample"] * 2
