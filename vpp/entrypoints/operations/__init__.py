"""What people can ask of the product, once for the command line and the HTTP API.

An operation takes a ``Desk`` and plain arguments and returns one JSON object with stable keys; a unit is the
last word of a key. What cannot be done raises ``OperationRefused`` with a sentence that says what to do.
"""
