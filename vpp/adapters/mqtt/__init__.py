"""A connection to an MQTT broker that comes back by itself; the only package that knows aiomqtt."""

from vpp.adapters.mqtt.access import Access, Backoff, NotABrokerUrl, TlsFiles
from vpp.adapters.mqtt.transport import MqttTransport, NotATopic, SubscriptionRefused

__all__ = [
    "Access",
    "Backoff",
    "MqttTransport",
    "NotABrokerUrl",
    "NotATopic",
    "SubscriptionRefused",
    "TlsFiles",
]
