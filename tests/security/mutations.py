"""Every defence of docs/security.md, and how to take it away: the test beside it must then fail.

A table and nothing else; `tests.security.mutate` runs it. `old` stands exactly once in its file, so that a
defence that moves takes its line here along (`test_page.py` checks that).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Edit:
    """In `file`, which counts from the project's folder, `old` becomes `new`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutation:
    """In `file`, `old` becomes `new`; then `test` must fail. `also`: what else goes, where a defence has two
    layers and each holds alone."""

    file: str
    old: str
    new: str
    test: str
    also: tuple[Edit, ...] = ()

    @property
    def edits(self) -> tuple[Edit, ...]:
        return (Edit(self.file, self.old, self.new), *self.also)


_TOKENS = "holds_core/tokens.py"
_INGEST = "bounces/ingest.py"
_LMTP = "bounces/lmtp.py"
_IMAP = "bounces/imap.py"
_READER = "bounces/mailbox.py"
_SECURITY = "mailer/app/web/security.py"
_CONFIRM = "mailer/app/web/confirm.py"
_SERVE = "mailer/app/web/serve.py"
_API = "mailer/app/web/api.py"
_WHO = "mailer/app/web/desk/who.py"
_LOGIN = "mailer/app/web/desk/login.py"
_PAGES = "mailer/app/web/desk/pages.py"
_ACCOUNTS = "holds_core/ledger/accounts.py"
_FOLDER = "mailer/app/dropfolder.py"
_HTTP = "mailer/app/feeds/http.py"
_OPENED = "holds_core/feeds/opened.py"
_THREATS = "tests/security/test_threats.py"
_WEB = "tests/security/test_web.py"
_TERMINAL = "tests/security/test_terminal.py"
_LINES = "tests/security/test_log_lines.py"
_PRIVACY = "tests/security/test_privacy.py"
_RETENTION = "tests/security/test_retention.py"
_ACCESS = "tests/mailer/desk/test_access.py"

MUTATIONS: dict[str, tuple[Mutation, ...]] = {
    "Forged bounces": (
        Mutation(
            _INGEST,
            "if match.by is By.LIKELY:",
            "if False:",
            "tests/bounces/test_ingest.py::test_what_proves_nothing_changes_nothing_and_waits_for_staff",
        ),
        Mutation(
            _TOKENS,
            "return delivery_id if genuine else None",
            "return delivery_id",
            "tests/bounces/test_match.py::test_a_token_that_we_did_not_sign_ties_nothing",
        ),
        Mutation(
            _TOKENS,
            "hmac.compare_digest(_mac(key, purpose, delivery_id).encode(), given)",
            "hmac.compare_digest(_mac(key, purpose, delivery_id).encode()[:15], given[:15])",
            "tests/bounces/test_match.py::test_one_letter_changed_is_a_forgery",
        ),
        Mutation(
            "bounces/match.py",
            "return next(matches(report, envelope_to, keys), None)",
            "return next(matches(report, envelope_to, keys), Match(1, By.LIKELY))",
            "tests/bounces/test_match.py::test_a_recipient_alone_is_no_proof",
        ),
        Mutation(
            _TOKENS,
            "hmac.compare_digest(_mac(key, purpose, delivery_id).encode(), given)",
            "hmac.compare_digest(_mac(key, purpose, delivery_id).encode()[:15], given[:15])",
            "tests/core/test_tokens.py::test_any_changed_character_is_refused",
        ),
        Mutation(
            _INGEST,
            "    if report.forwarded:\n        return Why.FORWARDED\n",
            "",
            "tests/e2e/test_reports.py::test_what_nothing_of_ours_proves_changes_nothing_and_says_why",
        ),
    ),
    "SMTP smuggling and oversized mail at LMTP": (
        Mutation(
            _LMTP,
            'if line_start and piece == b".\\r\\n":',
            'if piece.endswith(b"\\n.\\r\\n") or (line_start and piece == b".\\r\\n"):',
            "tests/bounces/test_lmtp.py::test_only_crlf_dot_crlf_ends_a_mail",
        ),
        Mutation(
            _LMTP,
            "        if len(kept) < keep:\n            kept += piece[: keep - len(kept)]",
            "        kept += piece",
            "tests/bounces/test_lmtp.py::test_of_a_long_mail_the_head_is_kept_and_marked",
        ),
        Mutation(
            _LMTP,
            "len(self.envelope.rcpt_tos) >= MAX_RECIPIENTS",
            "len(self.envelope.rcpt_tos) >= 10 * MAX_RECIPIENTS",
            "tests/bounces/test_lmtp.py::test_recipients_beyond_the_limit_wait_for_another_transaction",
        ),
        Mutation(
            _LMTP,
            "if len(self.sessions) >= self.max_connections:",
            "if False:",
            "tests/bounces/test_lmtp.py::test_connections_beyond_the_limit_are_put_off_and_later_let_in",
        ),
        Mutation(
            _LMTP,
            "timeout=listener.timeout,",
            "timeout=86_400,",
            "tests/bounces/test_lmtp.py::test_a_silent_connection_is_closed",
        ),
        Mutation(
            _LMTP,
            'NO_ANSWER_FROM_STORE = "451 4.3.0',
            'NO_ANSWER_FROM_STORE = "554 5.3.0',
            "tests/bounces/test_lmtp.py::test_what_cannot_be_stored_is_never_refused_for_good",
        ),
        Mutation(
            _LMTP,
            "reply = await asyncio.shield(storing)",
            'reply = "250 2.0.0 Stored"',
            "tests/bounces/test_lmtp.py::test_a_bounce_is_stored_as_it_came_before_it_is_acknowledged",
        ),
    ),
    "Others on the network at LMTP": (
        Mutation(
            _LMTP,
            'LOOPBACK = ("127.0.0.0/8", "::1/128")',
            'LOOPBACK = ("0.0.0.0/0", "::/0")',
            "tests/bounces/test_lmtp.py::test_peers_are_loopback_by_default",
        ),
        Mutation(
            _LMTP,
            "if isinstance(peer, tuple) and not self._is_allowed(str(peer[0])):",
            "if False:",
            "tests/bounces/test_lmtp.py::test_only_allowed_peers_may_enter",
        ),
        Mutation(
            "holds_core/settings/mail.py",
            'listen: ListenAddress = Listen("127.0.0.1", 8024)',
            'listen: ListenAddress = Listen("0.0.0.0", 8024)',
            f"{_THREATS}::test_nothing_listens_to_other_machines_unless_told_to",
        ),
        Mutation(
            "holds_core/settings/service.py",
            'listen: ListenAddress = Listen("127.0.0.1", 8080)',
            'listen: ListenAddress = Listen("0.0.0.0", 8080)',
            f"{_THREATS}::test_nothing_listens_to_other_machines_unless_told_to",
        ),
        Mutation(
            "deploy/postfix/todoku-recipients",
            r"/^[a-z2-7]{17,29}@bounce\.library\.example\.jp$/",
            r"/@bounce\.library\.example\.jp$/",
            "tests/deploy/test_postfix.py::test_only_what_looks_like_ours_is_taken",
        ),
    ),
    "An IMAP server that lies": (
        Mutation(
            _IMAP,
            "if self._received > self._most:",
            "if False:",
            f"{_THREATS}::test_an_imap_server_that_lies_about_sizes_does_not_fill_the_memory",
        ),
        Mutation(
            _IMAP,
            'if self.can("UIDPLUS"):',
            "if True:",
            "tests/bounces/test_mailbox.py::test_poor_servers",
        ),
        Mutation(
            _IMAP,
            "        if not done & tasks:\n",
            "        if False:\n",
            "tests/bounces/test_mailbox.py::test_servers_that_are_none",
        ),
        Mutation(
            _READER,
            "if validity != self._memory.validity or not validity:",
            "if not validity:",
            "tests/bounces/test_mailbox.py::test_a_new_uidvalidity_gives_every_uid_a_new_meaning",
        ),
        Mutation(
            _READER,
            'self._set_aside(uids[0], "the connection breaks when a mail is read")',
            "pass",
            "tests/bounces/test_mailbox.py"
            "::test_a_mail_that_breaks_the_connection_does_not_keep_the_others_from_being_read",
        ),
        Mutation(
            _READER,
            "known = self.stored | self.moved | self.aside.keys()",
            "known = self.stored | self.aside.keys()",
            f"{_THREATS}::test_a_mail_that_the_server_does_not_let_go_is_read_once",
        ),
        Mutation(
            _READER,
            "except (Broken, OSError, ValueError) as error:",
            "except (Broken, OSError) as error:",
            f"{_THREATS}::test_a_number_too_long_to_be_one_ends_the_connection_and_not_the_reader",
        ),
    ),
    "Mail built to break the reader": (
        Mutation(
            "bounces/mime.py",
            "while start >= 0 and budget.parts > 0:",
            "while start >= 0:",
            "tests/bounces/test_fuzz.py::test_parts_and_levels_are_counted",
        ),
        Mutation(
            "bounces/mime.py",
            "MAX_BYTES: Final = 512 * 1024",
            "MAX_BYTES: Final = 512 * 1024 * 1024",
            "tests/bounces/test_fuzz.py::test_bombs_are_bounded_in_work",
            (Edit("bounces/mime.py", "MAX_TEXT: Final = 64 * 1024", "MAX_TEXT: Final = 512 * 1024 * 1024"),),
        ),
        Mutation(
            "bounces/mime.py",
            "MAX_BYTES: Final = 512 * 1024",
            "MAX_BYTES: Final = 8 * 1024 * 1024",
            "tests/bounces/test_fuzz.py::test_bombs_are_bounded_in_steps_and_results",
            (Edit("bounces/dsn.py", "MAX_RECIPIENTS: Final = 100", "MAX_RECIPIENTS: Final = 100_000"),),
        ),
        Mutation(
            "bounces/mime.py",
            'named = _CHARSETS.get("".join(c for c in charset.lower() if c.isalnum()), "")',
            "named = charset",
            "tests/bounces/test_fuzz.py::test_a_mail_does_not_choose_codecs",
        ),
        Mutation(
            _INGEST,
            "except (*REFUSED, ValueError) as error:",
            "except ZeroDivisionError as error:",
            "tests/bounces/test_ingest.py::test_a_mail_that_cannot_be_recorded_does_not_stop_the_others",
        ),
    ),
    "Header injection and smuggling by names and titles": (
        Mutation(
            "mailer/view.py",
            "    if text.isprintable():\n        return text\n",
            "    return text\n",
            f"{_THREATS}::test_what_a_name_or_title_says_is_text_and_nothing_else",
            (
                Edit(
                    "holds_core/patrons.py",
                    'text = _LINE_BREAKS.sub(" ", _UNSEEN.sub("", text)).strip()',
                    "text = text.strip()",
                ),
            ),
        ),
        Mutation(
            "mailer/message.py",
            "if not value.isprintable() and (bad := _FORBIDDEN.search(value)):",
            "if False and (bad := _FORBIDDEN.search(value)):",
            "tests/mailer/test_message.py::test_control_characters_never_reach_a_header",
        ),
        Mutation(
            "mailer/message.py",
            'raise BadInput("not an address that a mail header can carry")  # whose it is stays out of logs',
            "return address",
            "tests/mailer/test_message.py::test_what_a_header_would_read_otherwise_is_refused",
        ),
        Mutation(
            "mailer/conversation.py",
            'data.replace(b"\\r\\n.", b"\\r\\n..")',
            "data",
            "tests/mailer/test_smtp.py::test_a_mail_survives_the_dots",
        ),
        Mutation(
            "mailer/smtp.py",
            '_SPEAKABLE = re.compile(r"[!-;=?-~]*")',
            '_SPEAKABLE = re.compile(r"[\\s\\S]*")',
            "tests/mailer/test_smtp.py::test_an_address_that_cannot_be_written_stops_nothing",
        ),
    ),
    "Template injection": (
        Mutation(
            "mailer/render.py",
            "return template.render(context)",
            "return self._quick.from_string(template.render(context)).render(context)",
            "tests/mailer/test_render.py::test_template_syntax_in_data_stays_literal",
        ),
        Mutation(
            "mailer/render.py",
            "environment = SandboxedEnvironment(",
            "environment = jinja2.Environment(",
            f"{_THREATS}::test_a_template_reaches_nothing_but_its_own_words",
        ),
    ),
    "Somebody between us and the relay or mailbox": (
        Mutation(
            "holds_core/settings/mail.py",
            "    tls: Annotated[Tls, PlainValidator(choice(Tls))] = Tls.STARTTLS",
            "    tls: Annotated[Tls, PlainValidator(choice(Tls))] = Tls.NONE",
            f"{_THREATS}::test_connections_are_encrypted_and_verified_unless_told_otherwise",
        ),
        Mutation(
            "holds_core/settings/alerts.py",
            "verify_tls: Flag = True",
            "verify_tls: Flag = False",
            f"{_THREATS}::test_connections_are_encrypted_and_verified_unless_told_otherwise",
        ),
        Mutation(
            "mailer/smtp.py",
            "    if not options.verify:",
            "    if True:",
            "tests/mailer/test_smtp.py::test_certificates",
        ),
        Mutation(
            "mailer/smtp.py",
            "if options.tls is Tls.STARTTLS:",
            "if options.tls is Tls.STARTTLS and False:",
            "tests/mailer/test_smtp.py::test_starttls_is_never_skipped",
        ),
        Mutation(
            _READER,
            "    if not verify:",
            "    if True:",
            "tests/bounces/test_mailbox.py::test_tls_is_verified_against_the_given_authority",
        ),
    ),
    "Mail that should not leave": (
        Mutation(
            "holds_core/settings/mail.py",
            "PlainValidator(choice(Mode))] = Mode.OFF",
            "PlainValidator(choice(Mode))] = Mode.ON",
            f"{_THREATS}::test_nothing_leaves_unless_told_to",
        ),
        Mutation(
            "mailer/app/commands/upkeep.py",
            'await put_flag(connection, PAUSED, {"by": _who(), "why": "restore"}, SystemClock().now())',
            "pass",
            "tests/deploy/test_restore.py::test_there_and_back_with_the_daemon_running",
        ),
    ),
    "Forged confirmations": (
        Mutation(
            _TOKENS,
            "return delivery_id if genuine else None",
            "return delivery_id",
            "tests/mailer/web/test_confirm.py::test_forged_tokens_are_unknown_pages",
        ),
        Mutation(
            _CONFIRM,
            'Route("/c/{token}", page.show, methods=["GET", "HEAD"])',
            'Route("/c/{token}", page.answer, methods=["GET", "HEAD"])',
            "tests/mailer/web/test_confirm.py::test_looking_confirms_nothing",
        ),
        Mutation(
            _CONFIRM,
            "if is_automatic(request.headers):",
            "if False:",
            "tests/mailer/web/test_confirm.py::test_programs_that_fetch_and_press_confirm_nothing",
        ),
        Mutation(
            _CONFIRM,
            "self._misses.take(client, now.timestamp())",
            "pass",
            "tests/mailer/web/test_confirm.py::test_guessing_is_limited_per_client",
        ),
        Mutation(
            _TOKENS,
            'b"todoku %s %d" % (purpose.encode(), delivery_id)',
            'b"todoku %d" % delivery_id',
            "tests/core/test_tokens.py::test_purposes_are_separate",
        ),
        Mutation(
            "deploy/nginx/confirm.conf",
            "X-Forwarded-For $remote_addr;",
            "X-Forwarded-For $http_x_forwarded_for;",
            "tests/deploy/test_proxies.py::test_a_client_cannot_choose_its_address",
        ),
        Mutation(
            _SECURITY,
            "for part in reversed(said))",
            "for part in said)",
            "tests/mailer/web/test_security.py::test_client",
        ),
    ),
    "What the page tells": (
        Mutation(
            "templates/desk/confirm/ja/confirm.html",
            "{{ notice }}",
            "{{ notice }} 花子",
            "tests/mailer/web/test_confirm.py::test_pages_tell_nothing_of_the_patron",
        ),
        Mutation(
            _SERVE,
            '            log_level="critical",\n            access_log=False,',
            '            log_level="trace",\n            access_log=True,',
            "tests/mailer/web/test_serve.py::test_logs_carry_no_token",
        ),
        Mutation(
            "deploy/nginx/confirm.conf",
            "    access_log off;\n",
            "",
            "tests/deploy/test_proxies.py::test_the_snippets_let_through_what_they_should",
        ),
        Mutation(
            "deploy/nginx/desk.conf",
            "location ~ ^/(metrics|healthz)$ {",
            "location ~ ^/nothing$ {",
            "tests/deploy/test_proxies.py::test_the_snippets_let_through_what_they_should",
        ),
    ),
    "API without token": (
        Mutation(
            _API,
            'raise ApiError("unauthorized")',
            "return",
            "tests/mailer/web/test_api.py::test_token_is_required",
        ),
        Mutation(
            _API,
            'raise ApiError("no_tokens")',
            "return",
            "tests/mailer/web/test_api.py::test_without_tokens_every_call_is_refused",
        ),
        Mutation(
            _API,
            "                if len(body) > MAX_BODY:",
            "                if False:",
            "tests/mailer/web/test_api.py::test_too_much_is_refused",
        ),
    ),
    "Session theft": (
        Mutation(
            _WHO,
            "httponly=True,",
            "httponly=False,",
            f"{_ACCESS}::test_cookies_are_kept_from_scripts_and_other_sites",
        ),
        Mutation(
            _WHO,
            'samesite="lax",',
            'samesite="none",',
            f"{_ACCESS}::test_cookies_are_kept_from_scripts_and_other_sites",
        ),
        Mutation(
            _ACCOUNTS,
            'return hashlib.sha256(cookie.encode("utf-8", "replace")).hexdigest()',
            "return cookie",
            f"{_ACCESS}::test_the_database_holds_neither_password_nor_cookie",
        ),
        Mutation(
            _ACCOUNTS,
            "                sessions.c.seen_at >= now - IDLE,\n",
            "",
            f"{_ACCESS}::test_an_idle_session_ends_and_a_used_one_does_not",
        ),
        Mutation(
            _ACCOUNTS,
            "                sessions.c.created_at >= now - LONGEST,\n",
            "",
            f"{_ACCESS}::test_no_session_outlives_the_day",
        ),
        Mutation(
            _LOGIN,
            'await accounts.end_session(connection, request.cookies.get(SESSION, ""))',
            "pass",
            f"{_ACCESS}::test_logging_out_ends_the_session_on_the_server",
        ),
        Mutation(
            _PAGES,
            'if not hmac.compare_digest(visit.said("csrf").encode(), visit.csrf.encode()):',
            "if False:",
            f"{_ACCESS}::test_a_form_without_the_sessions_token_is_refused",
        ),
        Mutation(
            "mailer/app/web/desk/visit.py",
            'hmac.new(cookie.encode(), b"csrf", hashlib.sha256)',
            'hmac.new(b"", b"csrf", hashlib.sha256)',
            f"{_ACCESS}::test_another_sessions_token_is_no_good",
        ),
        Mutation(
            _SECURITY,
            "if peer is None or len(said) > 1 or not any(peer in network for network in self._trusted):",
            "if len(said) > 1:",
            f"{_ACCESS}::test_the_header_is_refused_from_any_other_address",
        ),
        Mutation(
            _SECURITY,
            "if peer is None or len(said) > 1 or not any(peer in network for network in self._trusted):",
            "if peer is None or not any(peer in network for network in self._trusted):",
            f"{_ACCESS}::test_a_header_given_twice_is_refused",
        ),
        Mutation(
            "deploy/nginx/desk.conf",
            '        proxy_set_header X-Remote-User "";\n',
            "",
            "tests/deploy/test_proxies.py::test_the_snippets_let_through_what_they_should",
        ),
        Mutation(
            _WHO,
            "secure=self._services.settings.desk.secure_cookies,",
            "secure=False,",
            "tests/deploy/test_proxies.py::test_cookies_leave_by_https_alone",
        ),
    ),
    "Scripts in what patrons write": (
        Mutation(
            "mailer/app/web/desk/__init__.py",
            "script-src 'self'; ",
            "script-src 'self' 'unsafe-inline'; ",
            f"{_ACCESS}::test_every_answer_forbids_what_a_page_does_not_need",
        ),
        Mutation(
            _PAGES,
            "autoescape=True,",
            "autoescape=False,",
            "tests/mailer/desk/test_pages.py::test_what_patrons_typed_is_text_and_nothing_else",
        ),
        Mutation(
            "templates/desk/staff/layout.html",
            "<body>",
            '<body onload="go()">',
            f"{_ACCESS}::test_no_page_has_inline_script_or_style_or_asks_another_site",
        ),
        Mutation(
            "mailer/app/web/pages.py",
            "autoescape=True,",
            "autoescape=False,",
            "tests/mailer/web/test_confirm.py::test_words_are_shown_as_words",
        ),
    ),
    "A link or a Host that leads elsewhere": (
        Mutation(
            "mailer/app/web/app.py",
            "redoc_url=None, redirect_slashes=False)",
            "redoc_url=None)",
            f"{_WEB}::test_no_answer_leads_to_the_host_that_was_asked_for",
        ),
        Mutation(
            _CONFIRM,
            "    app.router.redirect_slashes = False  # it would lead to whatever Host the browser sent\n",
            "",
            f"{_WEB}::test_nor_does_a_patrons_page",
        ),
        Mutation(
            "mailer/app/web/desk/visit.py",
            "return text if safe else default",
            "return text",
            f"{_ACCESS}::test_no_form_leads_to_another_site",
        ),
    ),
    "Pages in other pages, in caches and in searches": (
        Mutation(
            _SECURITY,
            '"X-Frame-Options": "DENY",',
            "",
            f"{_WEB}::test_no_answer_is_kept_or_shown_inside_another_page",
        ),
        Mutation(
            _SECURITY,
            '"Cache-Control": "no-store",',
            '"Cache-Control": "public",',
            "tests/mailer/web/test_confirm.py::test_headers",
        ),
        Mutation(
            "mailer/app/web/desk/__init__.py",
            "base-uri 'none'; frame-ancestors 'none'",
            "base-uri 'none'",
            f"{_ACCESS}::test_every_answer_forbids_what_a_page_does_not_need",
        ),
    ),
    "Large, slow and endless requests": (
        Mutation(
            "mailer/app/web/desk/__init__.py",
            "async with asyncio.timeout_at(end):",
            "async with asyncio.timeout(None):",
            f"{_WEB}::test_a_body_that_trickles_is_cut_off",
        ),
        Mutation(
            "mailer/app/web/desk/__init__.py",
            "if whole:  # a page that is streamed waits here for its reader to leave",
            "if False:",
            f"{_WEB}::test_a_page_that_is_streamed_is_not_cut_off",
        ),
        Mutation(
            "mailer/app/web/desk/__init__.py",
            ", Middleware(LimitBody, most=MAX_BODY)]",
            "]",
            f"{_WEB}::test_the_desk_is_behind_that_limit",
        ),
        Mutation(
            "mailer/app/web/desk/__init__.py",
            "            if left < 0:",
            "            if False:",
            f"{_ACCESS}::test_a_body_longer_than_any_form_is_refused",
        ),
        Mutation(
            _API,
            'raise ApiError("unauthorized")',
            "return",
            f"{_WEB}::test_a_caller_without_token_sends_its_body_to_nobody",
        ),
        Mutation(
            _SERVE,
            "        if not answering and self.cycle is self._last:",
            "        if False:",
            "tests/mailer/web/test_serve.py::test_silent_connections_are_closed",
        ),
        Mutation(
            _SERVE,
            "            limit_concurrency=MAX_CONNECTIONS,\n",
            "",
            "tests/mailer/web/test_serve.py::test_too_many_connections_are_turned_away",
        ),
    ),
    "What strangers wrote, on a terminal": (
        Mutation(
            "mailer/app/commands/terminal.py",
            """    return letter not in "\\n\\t" and (letter < " " or "\\x7f" <= letter <= "\\x9f" or letter in _BIDI)""",
            "    return False",
            f"{_TERMINAL}::test_no_command_lets_a_stranger_steer_the_terminal",
        ),
        Mutation(
            "mailer/app/commands/look.py",
            "    if sys.stdout.isatty():\n        terminal.say(",
            "    if False:\n        terminal.say(",
            f"{_TERMINAL}::test_no_command_lets_a_stranger_steer_the_terminal",
        ),
        Mutation(
            "mailer/app/commands/terminal.py",
            '" ".join(harmless(text).split())',
            "harmless(text)",
            f"{_TERMINAL}::test_a_cell_is_one_cell",
        ),
    ),
    "Secrets": (
        Mutation(
            "mailer/app/commands/operate.py",
            'typer.Option(help="取り込み元の名前',
            'typer.Option("--api-token", help="取り込み元の名前',
            "tests/security/test_secrets.py::test_no_secret_is_an_argument",
        ),
        Mutation(
            "holds_core/settings/secrets.py",
            "    relay_password: str | None = field(default=None, repr=False)",
            "    relay_password: str | None = field(default=None)",
            "tests/core/test_settings.py::test_secrets_come_from_files",
        ),
        Mutation(
            "mailer/app/doctor/here.py",
            "_mode(path) & stat.S_IRWXO]",
            "False]",
            "tests/mailer/doctor/test_machine.py::test_files_that_others_can_read",
        ),
    ),
    "Guessing passwords": (
        Mutation(
            _LOGIN,
            "self._guesses.take(who, now)",
            "pass",
            f"{_ACCESS}::test_guessing_is_slowed_down_and_locks_out_nobody_else",
        ),
        Mutation(
            _LOGIN,
            "self._spray.take(client, now)",
            "pass",
            f"{_ACCESS}::test_trying_one_password_on_everybody_is_slowed_down_too",
        ),
    ),
    "Timing": (
        Mutation(
            _TOKENS,
            "            genuine |= hmac.compare_digest(_mac(key, purpose, delivery_id).encode(), given)\n",
            "            genuine = genuine or _mac(key, purpose, delivery_id).encode() == given\n",
            f"{_THREATS}::test_a_token_is_compared_with_every_key_in_constant_time",
        ),
        Mutation(
            _SECURITY,
            "            known |= hmac.compare_digest(digest, given)\n",
            "            known = known or digest == given\n",
            f"{_THREATS}::test_a_bearer_token_is_compared_with_every_token_by_its_digest",
        ),
        Mutation(
            _ACCOUNTS,
            "return _HASHER.verify(stored or _NOBODY, password[:MAX_PASSWORD]) and stored is not None",
            "return stored is not None and _HASHER.verify(stored, password[:MAX_PASSWORD])",
            f"{_THREATS}::test_a_login_that_is_not_there_costs_as_much_as_one_that_is",
        ),
        Mutation(
            _LOGIN,
            '            return self._form(request, 401, "wrong", login)',
            '            return self._form(request, 401 if login == "kato" else 404, "wrong", login)',
            f"{_ACCESS}::test_a_wrong_login_says_the_same_whoever_it_is",
        ),
    ),
    "CSV injection": (
        Mutation(
            "bounces/report.py",
            'return "\'" + cell if begins else cell',
            "return cell",
            "tests/bounces/test_report.py::test_no_cell_is_run_as_a_formula",
        ),
        Mutation(
            "bounces/report.py",
            'begins = cell.startswith(_FORMULA) or cell.lstrip(" \\u3000").startswith(_FORMULA)',
            "begins = cell.startswith(_FORMULA)",
            "tests/bounces/test_report.py::test_any_name_is_one_cell_that_is_no_formula",
        ),
        Mutation(
            "mailer/app/web/desk/sheets.py",
            'said.lstrip(" \\u3000").startswith(_FORMULA)',
            "said.startswith(_FORMULA)",
            "tests/mailer/desk/test_pages.py::test_no_cell_is_ever_a_formula",
        ),
    ),
    "Path traversal in feeds": (
        Mutation(
            _FOLDER,
            "found = path.lstat()",
            "found = path.stat()",
            f"{_THREATS}::test_a_link_among_a_feeds_files_is_not_followed",
            (Edit(_OPENED, "os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK", "os.O_RDONLY"),),
        ),
        Mutation(
            _OPENED,
            "os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK",
            "os.O_RDONLY | os.O_NONBLOCK",
            f"{_THREATS}::test_a_link_that_takes_a_files_place_in_time_is_not_followed",
        ),
        Mutation(
            _OPENED,
            "os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK",
            "os.O_RDONLY | os.O_NOFOLLOW",
            f"{_THREATS}::test_a_pipe_that_takes_a_files_place_is_not_waited_for",
        ),
        Mutation(
            _FOLDER,
            "os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW",
            "os.O_RDONLY | os.O_DIRECTORY",
            f"{_THREATS}::test_files_are_not_put_away_through_a_link",
        ),
        Mutation(
            _FOLDER,
            "os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC",
            "os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC",
            f"{_THREATS}::test_no_report_is_written_over_what_a_link_points_to",
            (
                Edit(
                    _FOLDER,
                    "        os.stat(name, dir_fd=folder",
                    "        os.stat(f'{name}?', dir_fd=folder",
                ),
            ),
        ),
        Mutation(
            _FOLDER,
            "if not stat.S_ISREG(found.st_mode):",
            "if False:",
            "tests/mailer/test_dropfolder.py::test_what_is_not_for_us_is_left_alone",
            (Edit(_OPENED, "os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK", "os.O_RDONLY"),),
        ),
        Mutation(
            _FOLDER,
            "    while _is_there(free, folder):",
            "    while False:",
            "tests/mailer/test_dropfolder.py::test_files_of_one_name_do_not_replace_each_other",
        ),
    ),
    "A library system's server that lies": (
        Mutation(
            _HTTP,
            "                    if len(body) > MAX_ANSWER:",
            "                    if False:",
            f"{_THREATS}::test_a_packed_answer_that_unpacks_without_end_is_refused",
        ),
        Mutation(
            _HTTP,
            "async with asyncio.timeout(LONGEST_S):",
            "async with asyncio.timeout(None):",
            f"{_THREATS}::test_an_answer_that_trickles_is_given_up",
        ),
        Mutation(
            _HTTP,
            "follow_redirects=False,",
            "follow_redirects=True,",
            f"{_THREATS}::test_a_token_is_not_taken_to_another_server",
        ),
        Mutation(
            _HTTP,
            "    if not verify:\n",
            "    if True:\n",
            "tests/mailer/feeds/test_running.py::test_only_known_certificates_are_believed",
        ),
    ),
    "YAML tricks": (
        Mutation(
            "holds_core/settings/text.py",
            "if key in found:",
            "if False:",
            "tests/core/test_config.py::test_bad_configuration",
        ),
        Mutation(
            "holds_core/settings/text.py",
            "if self.nodes > _NODES or len(path) > _DEPTH:",
            "if False:",
            "tests/core/test_config.py::test_bad_configuration",
        ),
        Mutation(
            "holds_core/settings/text.py",
            "        if node.tag != plain:",
            "        if False:",
            "tests/core/test_config.py::test_bad_configuration",
        ),
        Mutation(
            "holds_core/config.py",
            "if _SECRET_KEY.search(key.lower()):",
            "if False:",
            "tests/core/test_config.py::test_bad_configuration",
        ),
        Mutation(
            "holds_core/settings/text.py",
            "except yaml.MarkedYAMLError as error:",
            "except ZeroDivisionError as error:",
            "tests/core/test_config.py::test_any_text",
        ),
    ),
    "Copies and upgrades": (
        Mutation(
            "mailer/app/commands/operate.py",
            "                await _back_up(known, backed_up=backed_up)\n",
            "",
            "tests/deploy/test_upgrade.py::test_an_upgrade_copies_first_and_loses_no_row",
        ),
        Mutation(
            "holds_core/ledger/copies.py",
            "            schema = _checked(source, copy)\n        check_known(schema)",
            '            schema = "0001"',
            "tests/deploy/test_restore.py::test_what_is_no_good_copy_replaces_nothing",
        ),
        Mutation(
            "holds_core/ledger/session.py",
            "    check_known(found)\n",
            "",
            "tests/deploy/test_upgrade.py::test_a_database_from_the_future_is_refused_and_left_alone",
            (Edit("mailer/app/commands/operate.py", "                check_known(before)\n", ""),),
        ),
    ),
    "Packages": (
        Mutation(
            "deploy/bundle.py",
            '"pip install --no-index --find-links . --require-hashes -r requirements.txt"',
            '"pip install --no-index --find-links . todoku"',
            "tests/deploy/test_bundle.py::test_a_changed_wheel_is_not_installed",
        ),
        Mutation(
            "deploy/bundle.py",
            " --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}",
            " --hash=sha256:{hashlib.sha256(wheel.name.encode()).hexdigest()}",
            "tests/deploy/test_bundle.py::test_each_wheel_stands_in_the_requirements_with_its_hash",
        ),
    ),
    "Logs, metrics, error pages, tracebacks": (
        Mutation(
            "mailer/app/web/metrics.py",
            "return name if name in known else OTHER",
            "return name",
            "tests/mailer/web/test_health.py::test_metrics_name_nobody",
        ),
        Mutation(
            _SECURITY,
            'log.failed(str(scope.get("method", "")), path.split("/")[1] if "/" in path else "", error)',
            'log.failed(str(scope.get("method", "")), str(error), error)',
            "tests/mailer/web/test_serve.py::test_an_error_of_ours_is_logged_without_its_words",
        ),
        Mutation(
            "mailer/maillog.py",
            "        status=outcome.status,\n        state=state.value,",
            "        status=outcome.text,\n        state=state.value,",
            f"{_PRIVACY}::test_no_log_metric_error_page_or_traceback_names_anybody",
        ),
        Mutation(
            _LMTP,
            'facts = {"octets": len(inbound.raw), "recipients": len(inbound.envelope_to)}',
            'facts = {"octets": len(inbound.raw), "recipients": inbound.envelope_from}',
            f"{_PRIVACY}::test_no_log_metric_error_page_or_traceback_names_anybody",
        ),
        Mutation(
            "mailer/app/cli.py",
            "sys.excepthook = loglines.last_words",
            "sys.excepthook = sys.__excepthook__",
            f"{_PRIVACY}::test_a_command_that_fails_names_nobody",
            (
                Edit(
                    "holds_core/ledger/session.py",
                    "hide_parameters=True,  # an error's text",
                    "hide_parameters=False,  # an error's text",
                ),
                Edit(
                    "holds_core/ledger/session.py",
                    "        hide_parameters=True,\n    )\n    _prepare(engine, readonly=False)",
                    "        hide_parameters=False,\n    )\n    _prepare(engine, readonly=False)",
                ),
            ),
        ),
        Mutation(
            "mailer/maillog.py",
            "            loglines.without_words,\n",
            "            structlog.processors.format_exc_info,\n",
            f"{_LINES}::test_an_errors_words_are_left_out_and_its_place_is_told",
        ),
        Mutation(
            "mailer/maillog.py",
            "handler.setFormatter(loglines.LibraryFormat())",
            "pass",
            f"{_LINES}::test_a_librarys_lines_say_where_and_quote_nothing",
        ),
        Mutation(
            "mailer/loglines.py",
            "an error of the program: {place(error)}",
            "an error of the program: {error}",
            f"{_LINES}::test_a_program_that_ends_by_an_error_quotes_nothing",
        ),
        Mutation(
            _LMTP,
            'log.info("lmtp_stopped")',
            'log.info("lmtp_stopped", sender="")',
            f"{_LINES}::test_no_line_has_a_fact_that_nobody_thought_about",
        ),
        Mutation(
            _LMTP,
            'log.info("lmtp_stopped")',
            'log.info(f"lmtp_stopped {self}")',
            f"{_LINES}::test_no_line_is_a_text_with_something_put_into_it",
        ),
    ),
    "Lines that are none": (
        Mutation(
            "mailer/maillog.py",
            "            loglines.without_controls,\n",
            "",
            f"{_LINES}::test_a_line_stays_one_line_and_steers_no_terminal",
        ),
    ),
    "What is kept": (
        Mutation(
            "holds_core/settings/service.py",
            "raw_mail: _Kept = timedelta(days=30)",
            "raw_mail: _Kept = timedelta(days=365)",
            f"{_RETENTION}::test_raw_mail_is_kept_no_longer_than_titles",
        ),
        Mutation(
            "holds_core/ledger/upkeep.py",
            '        Rule("canaries", canaries.c.canary_id, canaries.c.settled_at < old),\n',
            "",
            f"{_RETENTION}::test_every_table_has_an_end_or_a_reason",
        ),
        Mutation(
            "holds_core/ledger/upkeep.py",
            "decisions.c.at < old),",
            "decisions.c.at < old - retention.events),",
            f"{_RETENTION}::test_what_is_old_goes",
        ),
        Mutation(
            "holds_core/ledger/personal.py",
            "    counts |= await _unname_mail(connection, person)\n",
            "",
            "tests/core/ledger/test_upkeep.py::test_forgetting_leaves_no_trace_in_any_table",
        ),
        Mutation(
            "holds_core/ledger/personal.py",
            '        "claims": await rows(claims, claims.c.patron_id, me),\n',
            "",
            "tests/core/ledger/test_upkeep.py::test_an_export_shows_every_row_that_names_the_patron",
        ),
    ),
    "Files": (
        Mutation(
            "holds_core/ledger/session.py",
            "os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600",
            "os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644",
            "tests/security/test_privacy.py::test_the_database_and_its_copies_are_their_owners_alone",
        ),
    ),
    "The process": (
        Mutation(
            "deploy/systemd/todoku.service",
            "CapabilityBoundingSet=\n",
            "",
            "tests/deploy/test_units.py::test_little_is_left_open",
        ),
        Mutation(
            "deploy/systemd/todoku.service",
            "Type=notify",
            "Typ=notify",
            "tests/deploy/test_units.py::test_systemd_finds_no_fault",
        ),
    ),
}
"""Heading of docs/security.md -> its defences, taken away one by one."""
