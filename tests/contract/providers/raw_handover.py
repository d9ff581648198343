"""Hands over bytes that the MIME writer would not write, or would take long to write."""

from tallypost_core.settings.providers import SMTPSettings
from tallypost_providers.smtp_deadlines import Budget
from tallypost_providers.smtp_failures import HandoverStopped
from tallypost_providers.smtp_handover import SMTPHandover
from tallypost_providers.smtp_opening import open_connection
from tallypost_providers.types import OutgoingEmail, SendResult


async def hand_over(
    port: int, email: OutgoingEmail, message: bytes, timeout_s: float
) -> SendResult:
    """One email's envelope with these bytes, over a new connection that ends with it."""
    budget = Budget(timeout_s)
    settings = SMTPSettings(host="127.0.0.1", port=port, security="none")
    handover = SMTPHandover(email, budget)
    connection = await open_connection(settings, "127.0.0.1", "client.test", None, budget)
    try:
        await handover.run(connection, message)
    except HandoverStopped as stop:
        handover.stop(stop)
    finally:
        await connection.quit()
    return handover.result()
