"""CRAM-MD5 as its standard shows it."""

import asyncio
import base64
import socket

from tallypost_providers.smtp_auth import log_in
from tallypost_providers.smtp_deadlines import Budget
from tallypost_providers.smtp_protocol import SMTPProtocol

IN_TIME_S = 10.0


async def test_answer_to_a_challenge_is_the_one_in_rfc_2195() -> None:
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    _, wire = await loop.create_connection(lambda: SMTPProtocol(loop), sock=ours)
    budget = Budget(IN_TIME_S)
    await loop.sock_sendall(theirs, b"220 postoffice.reston.mci.net\r\n")
    await wire.reply("connect", budget)
    login = asyncio.create_task(
        log_in(wire, "CRAM-MD5", "tim", "tanstaaftanstaaf", budget, is_encrypted=False)
    )
    try:
        assert await loop.sock_recv(theirs, 1000) == b"AUTH CRAM-MD5\r\n"
        challenge = b"PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+"
        await loop.sock_sendall(theirs, b"334 " + challenge + b"\r\n")
        answer = await loop.sock_recv(theirs, 1000)
        await loop.sock_sendall(theirs, b"235 2.7.0 welcome\r\n")
        await login
    finally:
        wire.abort()
        theirs.close()
    assert base64.b64decode(answer) == b"tim b913a602c7eda7a495b4e6e7334d3890"
