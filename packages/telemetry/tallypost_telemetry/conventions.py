"""Names in traces: OpenTelemetry's semantic conventions 1.44.0 where they have one, else ours.

HTTP, database, server and error names are stable there. Those of messaging are in development, so a
later version may rename them. Mail by SMTP has no conventions; what begins with `tallypost.` is
ours. Values are ids, codes and fixed words: never an address, a subject, a body or a peer's text.
"""

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"

ERROR_TYPE: Final = "error.type"

HTTP_REQUEST_METHOD: Final = "http.request.method"
HTTP_ROUTE: Final = "http.route"
HTTP_RESPONSE_STATUS_CODE: Final = "http.response.status_code"
URL_SCHEME: Final = "url.scheme"

MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_OPERATION_NAME: Final = "messaging.operation.name"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"
MESSAGING_DESTINATION_NAME: Final = "messaging.destination.name"
MESSAGING_MESSAGE_ID: Final = "messaging.message.id"
MESSAGING_BATCH_MESSAGE_COUNT: Final = "messaging.batch.message_count"

DB_SYSTEM_NAME: Final = "db.system.name"
DB_QUERY_SUMMARY: Final = "db.query.summary"
DB_STORED_PROCEDURE_NAME: Final = "db.stored_procedure.name"
DB_OPERATION_BATCH_SIZE: Final = "db.operation.batch.size"

NETWORK_PROTOCOL_NAME: Final = "network.protocol.name"
NETWORK_PROTOCOL_VERSION: Final = "network.protocol.version"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"

REQUEST_ID: Final = "tallypost.request.id"
TENANT_ID: Final = "tallypost.tenant.id"
MODE: Final = "tallypost.mode"
LANE: Final = "tallypost.lane"
ATTEMPT: Final = "tallypost.attempt"
PROVIDER: Final = "tallypost.provider"
ACCOUNT: Final = "tallypost.provider.account"
RECIPIENTS: Final = "tallypost.recipients"
OUTCOME: Final = "tallypost.outcome"
HOLD_REASON: Final = "tallypost.hold_reason"
SMTP_REPLY_CODE: Final = "tallypost.smtp.reply_code"
SMTP_ENHANCED_CODE: Final = "tallypost.smtp.enhanced_code"
OBJECT_STORE: Final = "tallypost.object_store"
OBJECT_SIZE_BYTES: Final = "tallypost.object.size_bytes"
