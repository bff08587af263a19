"""`itipd init` and `itipd check-config`: the beginning."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from itipd.cli import output
from itipd.cli.base import BAD_CONFIG, WRONG, App, Command, Failure, pass_app, run

TEMPLATE = """\
# itipd.toml. Every key stands here with its default; ITIPD_SECTION__KEY variables and options win over it.
# Relative paths are relative to this file. Sizes are bytes or `10 MiB`, durations seconds or `10 s`, `5 min`.

# Whose mailbox this is: addresses, `*@meet.example.com`, or nothing: then any recipient is an organizer.
organizers = []
database = "sqlite:///itipd.db"  # or postgresql://user@host/name
disk_reserve = "64 MiB"  # SQLite: with less free on its disk (or a 16th of it) new mail waits outside, 452
drain_timeout = "10 s"  # what the daemon may take to finish after SIGTERM

[smtp]  # mail for the organizers
listen = "127.0.0.1:8025"  # `-`: off
# tls_cert = "cert.pem"  # with tls_key: STARTTLS is offered; also in [lmtp] and [submission]
# tls_key = "key.pem"
max_message_size = "10 MiB"  # of all mail doors
max_connections = 1000  # the three limits also in [lmtp] and [submission]
max_connections_per_client = 100
trusted_networks = ["127.0.0.0/8", "::1/128"]  # no limit per client applies to them

[lmtp]  # the same, for a relay on this machine
listen = "127.0.0.1:8024"  # or "unix:lmtp.sock"

[submission]  # the application's own REQUEST and CANCEL
listen = "127.0.0.1:8587"
forward = false  # also send them on

[http]  # the API and the page
listen = "127.0.0.1:8080"
# token = "..."  # what `Authorization: Bearer` must carry
names = []  # further names that the Host header may carry

[relay]  # where outgoing mail goes; with neither host nor directory it waits in the outbox
# host = "localhost"
# port = 25  # 465 where tls is "implicit"
tls = "opportunistic"  # STARTTLS if offered, unverified; or "verify", "implicit", "off"
# username = "itipd"
# password = "..."
# directory = "outgoing"  # write .eml files instead
return_path = "tagged"  # meetings+b-TOKEN@example.com; "plain" for relays without tags

[policy]
sender = "from"  # what proves an attendee: "token", "dmarc", "from" or "any"
party_crasher = "held"  # an answer of somebody uninvited: "held", "added" or "no_action"
counter = "hold"  # a counter proposal: "hold", "decline" or "accept"
stale_reply = "resend"  # an answer to an old revision: "resend" the current one, or "ignore"
delegation = "allow"  # or "forbid"
location = "minor"  # is a new LOCATION a new SEQUENCE? "minor": no, "significant": yes
freebusy = "off"  # who is told when the organizer is busy: nobody, "known" (who is or was a guest) or "any"
# forward_to = "office@example.com"  # a person who also gets the mail that has no calendar in it, as it came

[identity]
aliases = {}  # { "b@home.example.net" = "b@example.com" }
plus_tag = false  # true: b+tag@example.com is b@example.com
authserv_ids = []  # whose Authentication-Results are believed: your own relay's
dkim = "off"  # "on": DKIM signatures are checked here, with keys from DNS; needs the extra `dkim`
tokens = "off"  # "on": each invitation asks for its answer at an address of its own

[texts]
language = "en"  # of outgoing mails: cs, de, en, es, fr, ja or zh; "en-US" also writes dates as there
# templates = "templates"

[readers]  # the processes that read mail, and what one mail may cost them
# count = 1  # default: one less than there are processors for itipd, at least 1, at most 4
deadline = "5 s"
memory = "512 MiB"

[limits]  # what of one mail is read; beyond a bound it is kept, as an error with the reason that stands here
header_block = "64 KiB"  # of the mail, or of one part: too_many_headers
headers = 500  # fields of one block: too_many_headers
header = "8 KiB"  # a longer field is passed over
parts = 200  # too_many_parts
part_depth = 20  # parts in parts: nested_too_deep
calendar = "1 MiB"  # one calendar, decoded: too_large
properties = 30000  # lines of one calendar: too_many_properties
line = "512 KiB"  # characters of one of them: line_too_long
components = 200  # of one mail, without alarms and time zones: too_many_components
component_depth = 8  # components in components: nested_too_deep
attendees = 5  # of a REPLY: too_many_attendees
counter_attendees = 1000  # of a COUNTER, which may list everybody: too_many_attendees
expansion = 2000  # steps to follow one recurrence rule: rule_too_costly

[retention]  # how long things are kept, like "90 days"; without a time for ever
# mail = "90 days"  # the bytes of received mail; what of it still waits for a person then has expired
# outcomes = "1000 days"  # what was decided and why, and the mail itself
# sent = "90 days"  # mail that was sent or has failed

[log]
format = "text"  # or "json"
level = "info"  # "debug", "info", "warning" or "error"
"""

RELAYS = """\
# Postfix, main.cf (the organizer's domain goes to itipd over LMTP):
#   transport_maps = inline:{ meet.example.com=lmtp:inet:127.0.0.1:8024 }
#   relay_domains = meet.example.com
# One address of a domain that Postfix delivers itself:
#   transport_maps = inline:{ meetings@example.com=lmtp:inet:127.0.0.1:8024 }
#   recipient_delimiter = +

# Exim, a router before the local ones, and its transport:
#   itipd:
#     driver = accept
#     domains = meet.example.com
#     transport = itipd_lmtp
#   itipd_lmtp:
#     driver = smtp
#     protocol = lmtp
#     hosts = 127.0.0.1
#     port = 8024
#     allow_localhost

# Exchange: an internal relay domain and a send connector that hands it to itipd's SMTP door
# (set smtp.listen to an address that Exchange reaches, and the firewall to let only Exchange in):
#   New-AcceptedDomain -Name itipd -DomainName meet.example.com -DomainType InternalRelay
#   New-SendConnector -Name itipd -AddressSpaces "SMTP:meet.example.com;1" -SmartHosts itipd.example.com `
#     -Port 8025 -DNSRoutingEnabled $false -SmartHostAuthMechanism None -Custom
"""


@click.command(cls=Command)
@pass_app
def init(app: App) -> None:
    """Write a commented itipd.toml, and show how a relay hands mail over."""
    file = app.config_file or Path("itipd.toml")
    try:
        with file.open("x", encoding="utf-8") as written:
            written.write(TEMPLATE)
    except FileExistsError:
        raise Failure(f"{file}: found it there already, expected to make it; move it away first", WRONG) from None
    except OSError as error:
        raise Failure(f"{file}: found no way to write it ({error.strerror})", BAD_CONFIG) from None
    if app.as_json:
        output.one({"written": str(file), "relays": RELAYS})
        return
    click.echo(f"Written: {file}\n\nHow mail gets here:\n")
    click.echo(RELAYS, nl=False)


@click.command("check-config", cls=Command)
@click.option("--deep", is_flag=True, help="Also try the database and the relay.")
@pass_app
def check_config(app: App, deep: bool) -> None:
    """Name every mistake in the configuration, with its key."""
    from itipd.cli.checks import deep_problems, file_problems

    problems: list[str] = []
    try:
        config = app.config()
    except Failure as error:
        problems = error.message.splitlines()
    else:
        problems = file_problems(config)
        problems += run(deep_problems(config)) if deep else []
    if app.as_json:
        output.one({"ok": not problems, "problems": problems})
    else:
        for problem in problems:
            click.echo(problem, err=True)
        if not problems:
            click.echo("The configuration is right.")
    if problems:
        sys.exit(BAD_CONFIG)
