BEGIN TRANSACTION;
CREATE TABLE addresses (
	address_key TEXT NOT NULL, 
	domain TEXT NOT NULL, 
	standing VARCHAR(40) NOT NULL, 
	reasons JSON NOT NULL, 
	since DATETIME NOT NULL, 
	proven BOOLEAN NOT NULL, 
	mistyped BOOLEAN NOT NULL, 
	doubt VARCHAR(40) DEFAULT '' NOT NULL, 
	suggestion TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_addresses PRIMARY KEY (address_key)
);
INSERT INTO "addresses" VALUES('addresses.address_key 図書 1','addresses.domain 図書 1','addresses.standing 図書 1','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 1", "list": [1, null, true]}','2026-11-22 00:31:15.250000',0,0,'addresses.doubt 図書 1','addresses.suggestion 図書 1');
INSERT INTO "addresses" VALUES('addresses.address_key 図書 2','addresses.domain 図書 2','addresses.standing 図書 2','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 2", "list": [2, null, true]}','2026-11-22 00:32:15.250000',1,1,'addresses.doubt 図書 2','addresses.suggestion 図書 2');
INSERT INTO "addresses" VALUES('addresses.address_key 図書 3','addresses.domain 図書 3','addresses.standing 図書 3','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 3", "list": [3, null, true]}','2026-11-22 00:33:15.250000',0,0,'addresses.doubt 図書 3','addresses.suggestion 図書 3');
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE attempts (
	delivery_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	started_at DATETIME NOT NULL, 
	finished_at DATETIME, 
	result VARCHAR(40), 
	phase VARCHAR(40), 
	code INTEGER, 
	status VARCHAR(40) DEFAULT '' NOT NULL, 
	text TEXT DEFAULT '' NOT NULL, 
	remote TEXT DEFAULT '' NOT NULL, 
	deadline DATE, 
	CONSTRAINT pk_attempts PRIMARY KEY (delivery_id, number), 
	CONSTRAINT fk_attempts_delivery_id FOREIGN KEY(delivery_id) REFERENCES deliveries (delivery_id) ON DELETE CASCADE
);
INSERT INTO "attempts" VALUES(1,1,'2026-11-22 00:31:15.250000','2026-11-22 00:31:15.250000','attempts.result 図書 1','attempts.phase 図書 1',1,'attempts.status 図書 1','attempts.text 図書 1','attempts.remote 図書 1','2026-11-21');
INSERT INTO "attempts" VALUES(2,2,'2026-11-22 00:32:15.250000','2026-11-22 00:32:15.250000','attempts.result 図書 2','attempts.phase 図書 2',2,'attempts.status 図書 2','attempts.text 図書 2','attempts.remote 図書 2','2026-11-22');
INSERT INTO "attempts" VALUES(3,3,'2026-11-22 00:33:15.250000','2026-11-22 00:33:15.250000','attempts.result 図書 3','attempts.phase 図書 3',3,'attempts.status 図書 3','attempts.text 図書 3','attempts.remote 図書 3','2026-11-23');
CREATE TABLE audit (
	audit_id INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	who TEXT NOT NULL, 
	what VARCHAR(40) NOT NULL, 
	subject TEXT DEFAULT '' NOT NULL, 
	detail JSON NOT NULL, 
	CONSTRAINT pk_audit PRIMARY KEY (audit_id)
);
INSERT INTO "audit" VALUES(1,'2026-11-22 00:31:15.250000','audit.who 図書 1','audit.what 図書 1','audit.subject 図書 1','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 1", "list": [1, null, true]}');
INSERT INTO "audit" VALUES(2,'2026-11-22 00:32:15.250000','audit.who 図書 2','audit.what 図書 2','audit.subject 図書 2','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 2", "list": [2, null, true]}');
INSERT INTO "audit" VALUES(3,'2026-11-22 00:33:15.250000','audit.who 図書 3','audit.what 図書 3','audit.subject 図書 3','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 3", "list": [3, null, true]}');
CREATE TABLE batches (
	slot VARCHAR(200) NOT NULL, 
	due_at DATETIME NOT NULL, 
	released_at DATETIME NOT NULL, 
	released INTEGER NOT NULL, 
	outcome VARCHAR(40) NOT NULL, 
	finished_at DATETIME, 
	CONSTRAINT pk_batches PRIMARY KEY (slot)
);
INSERT INTO "batches" VALUES('batches.slot 図書 1','2026-11-22 00:31:15.250000','2026-11-22 00:31:15.250000',1,'batches.outcome 図書 1','2026-11-22 00:31:15.250000');
INSERT INTO "batches" VALUES('batches.slot 図書 2','2026-11-22 00:32:15.250000','2026-11-22 00:32:15.250000',2,'batches.outcome 図書 2','2026-11-22 00:32:15.250000');
INSERT INTO "batches" VALUES('batches.slot 図書 3','2026-11-22 00:33:15.250000','2026-11-22 00:33:15.250000',3,'batches.outcome 図書 3','2026-11-22 00:33:15.250000');
CREATE TABLE campaigns (
	campaign_id VARCHAR(200) NOT NULL, 
	switch_on DATE NOT NULL, 
	per_batch INTEGER NOT NULL, 
	started_at DATETIME NOT NULL, 
	started_by TEXT NOT NULL, 
	reached TEXT DEFAULT '' NOT NULL, 
	queued INTEGER DEFAULT '0' NOT NULL, 
	ended_at DATETIME, 
	ended_why VARCHAR(40) DEFAULT '' NOT NULL, 
	CONSTRAINT pk_campaigns PRIMARY KEY (campaign_id)
);
INSERT INTO "campaigns" VALUES('campaigns.campaign_id 図書 1','2026-11-21',1,'2026-11-22 00:31:15.250000','campaigns.started_by 図書 1','campaigns.reached 図書 1',1,'2026-11-22 00:31:15.250000','campaigns.ended_why 図書 1');
INSERT INTO "campaigns" VALUES('campaigns.campaign_id 図書 2','2026-11-22',2,'2026-11-22 00:32:15.250000','campaigns.started_by 図書 2','campaigns.reached 図書 2',2,'2026-11-22 00:32:15.250000','campaigns.ended_why 図書 2');
INSERT INTO "campaigns" VALUES('campaigns.campaign_id 図書 3','2026-11-23',3,'2026-11-22 00:33:15.250000','campaigns.started_by 図書 3','campaigns.reached 図書 3',3,'2026-11-22 00:33:15.250000','campaigns.ended_why 図書 3');
CREATE TABLE canaries (
	canary_id INTEGER NOT NULL, 
	slot VARCHAR(200) NOT NULL, 
	address VARCHAR(320) NOT NULL, 
	domain TEXT NOT NULL, 
	begun_at DATETIME NOT NULL, 
	sent_at DATETIME, 
	fate VARCHAR(40) NOT NULL, 
	settled_at DATETIME, 
	detail TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_canaries PRIMARY KEY (canary_id), 
	CONSTRAINT uq_canaries_slot_address UNIQUE (slot, address)
);
INSERT INTO "canaries" VALUES(1,'canaries.slot 図書 1','canaries.address 図書 1','canaries.domain 図書 1','2026-11-22 00:31:15.250000','2026-11-22 00:31:15.250000','canaries.fate 図書 1','2026-11-22 00:31:15.250000','canaries.detail 図書 1');
INSERT INTO "canaries" VALUES(2,'canaries.slot 図書 2','canaries.address 図書 2','canaries.domain 図書 2','2026-11-22 00:32:15.250000','2026-11-22 00:32:15.250000','canaries.fate 図書 2','2026-11-22 00:32:15.250000','canaries.detail 図書 2');
INSERT INTO "canaries" VALUES(3,'canaries.slot 図書 3','canaries.address 図書 3','canaries.domain 図書 3','2026-11-22 00:33:15.250000','2026-11-22 00:33:15.250000','canaries.fate 図書 3','2026-11-22 00:33:15.250000','canaries.detail 図書 3');
CREATE TABLE case_actions (
	action_id INTEGER NOT NULL, 
	patron_id VARCHAR(200) NOT NULL, 
	case_id INTEGER, 
	at DATETIME NOT NULL, 
	who VARCHAR(200) NOT NULL, 
	kind VARCHAR(40) NOT NULL, 
	note TEXT DEFAULT '' NOT NULL, 
	"before" JSON NOT NULL, 
	"after" JSON NOT NULL, 
	undone_at DATETIME, 
	undone_by VARCHAR(200), 
	CONSTRAINT pk_case_actions PRIMARY KEY (action_id)
);
INSERT INTO "case_actions" VALUES(1,'case_actions.patron_id 図書 1',1,'2026-11-22 00:31:15.250000','case_actions.who 図書 1','case_actions.kind 図書 1','case_actions.note 図書 1','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 1", "list": [1, null, true]}','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 1", "list": [1, null, true]}','2026-11-22 00:31:15.250000','case_actions.undone_by 図書 1');
INSERT INTO "case_actions" VALUES(2,'case_actions.patron_id 図書 2',2,'2026-11-22 00:32:15.250000','case_actions.who 図書 2','case_actions.kind 図書 2','case_actions.note 図書 2','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 2", "list": [2, null, true]}','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 2", "list": [2, null, true]}','2026-11-22 00:32:15.250000','case_actions.undone_by 図書 2');
INSERT INTO "case_actions" VALUES(3,'case_actions.patron_id 図書 3',3,'2026-11-22 00:33:15.250000','case_actions.who 図書 3','case_actions.kind 図書 3','case_actions.note 図書 3','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 3", "list": [3, null, true]}','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 3", "list": [3, null, true]}','2026-11-22 00:33:15.250000','case_actions.undone_by 図書 3');
CREATE TABLE case_marks (
	case_id INTEGER NOT NULL, 
	status VARCHAR(40) NOT NULL, 
	again_on DATE, 
	tries INTEGER NOT NULL, 
	known JSON NOT NULL, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_case_marks PRIMARY KEY (case_id), 
	CONSTRAINT fk_case_marks_case_id FOREIGN KEY(case_id) REFERENCES cases (case_id) ON DELETE CASCADE
);
INSERT INTO "case_marks" VALUES(1,'case_marks.status 図書 1','2026-11-21',1,'{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 1", "list": [1, null, true]}','2026-11-22 00:31:15.250000');
INSERT INTO "case_marks" VALUES(2,'case_marks.status 図書 2','2026-11-22',2,'{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 2", "list": [2, null, true]}','2026-11-22 00:32:15.250000');
INSERT INTO "case_marks" VALUES(3,'case_marks.status 図書 3','2026-11-23',3,'{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 3", "list": [3, null, true]}','2026-11-22 00:33:15.250000');
CREATE TABLE case_steps (
	step_id INTEGER NOT NULL, 
	case_id INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	what VARCHAR(40) NOT NULL, 
	why JSON NOT NULL, 
	CONSTRAINT pk_case_steps PRIMARY KEY (step_id), 
	CONSTRAINT fk_case_steps_case_id FOREIGN KEY(case_id) REFERENCES cases (case_id) ON DELETE CASCADE
);
INSERT INTO "case_steps" VALUES(1,1,'2026-11-22 00:31:15.250000','case_steps.what 図書 1','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 1", "list": [1, null, true]}');
INSERT INTO "case_steps" VALUES(2,2,'2026-11-22 00:32:15.250000','case_steps.what 図書 2','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 2", "list": [2, null, true]}');
INSERT INTO "case_steps" VALUES(3,3,'2026-11-22 00:33:15.250000','case_steps.what 図書 3','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 3", "list": [3, null, true]}');
CREATE TABLE cases (
	case_id INTEGER NOT NULL, 
	patron_id VARCHAR(200) NOT NULL, 
	state VARCHAR(40) NOT NULL, 
	reasons JSON NOT NULL, 
	deadline DATE, 
	opened_at DATETIME NOT NULL, 
	changed_at DATETIME NOT NULL, 
	closed_at DATETIME, 
	closed_why VARCHAR(40) DEFAULT '' NOT NULL, 
	CONSTRAINT pk_cases PRIMARY KEY (case_id)
);
INSERT INTO "cases" VALUES(1,'cases.patron_id 図書 1','closed','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 1", "list": [1, null, true]}','2026-11-21','2026-11-22 00:31:15.250000','2026-11-22 00:31:15.250000','2026-11-22 00:31:15.250000','cases.closed_why 図書 1');
INSERT INTO "cases" VALUES(2,'cases.patron_id 図書 2','closed','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 2", "list": [2, null, true]}','2026-11-22','2026-11-22 00:32:15.250000','2026-11-22 00:32:15.250000','2026-11-22 00:32:15.250000','cases.closed_why 図書 2');
INSERT INTO "cases" VALUES(3,'cases.patron_id 図書 3','closed','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 3", "list": [3, null, true]}','2026-11-23','2026-11-22 00:33:15.250000','2026-11-22 00:33:15.250000','2026-11-22 00:33:15.250000','cases.closed_why 図書 3');
CREATE TABLE claims (
	patron_id VARCHAR(200) NOT NULL, 
	who VARCHAR(200) NOT NULL, 
	until DATETIME NOT NULL, 
	CONSTRAINT pk_claims PRIMARY KEY (patron_id)
);
INSERT INTO "claims" VALUES('claims.patron_id 図書 1','claims.who 図書 1','2026-11-22 00:31:15.250000');
INSERT INTO "claims" VALUES('claims.patron_id 図書 2','claims.who 図書 2','2026-11-22 00:32:15.250000');
INSERT INTO "claims" VALUES('claims.patron_id 図書 3','claims.who 図書 3','2026-11-22 00:33:15.250000');
CREATE TABLE closures (
	closure_id INTEGER NOT NULL, 
	branch VARCHAR(200) NOT NULL, 
	first DATE NOT NULL, 
	last DATE NOT NULL, 
	reason TEXT DEFAULT '' NOT NULL, 
	entered_at DATETIME NOT NULL, 
	entered_by TEXT NOT NULL, 
	moved JSON, 
	removed_at DATETIME, 
	removed_by TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_closures PRIMARY KEY (closure_id)
);
INSERT INTO "closures" VALUES(1,'closures.branch 図書 1','2026-11-21','2026-11-21','closures.reason 図書 1','2026-11-22 00:31:15.250000','closures.entered_by 図書 1','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 1", "list": [1, null, true]}','2026-11-22 00:31:15.250000','closures.removed_by 図書 1');
INSERT INTO "closures" VALUES(2,'closures.branch 図書 2','2026-11-22','2026-11-22','closures.reason 図書 2','2026-11-22 00:32:15.250000','closures.entered_by 図書 2','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 2", "list": [2, null, true]}','2026-11-22 00:32:15.250000','closures.removed_by 図書 2');
INSERT INTO "closures" VALUES(3,'closures.branch 図書 3','2026-11-23','2026-11-23','closures.reason 図書 3','2026-11-22 00:33:15.250000','closures.entered_by 図書 3','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 3", "list": [3, null, true]}','2026-11-22 00:33:15.250000','closures.removed_by 図書 3');
CREATE TABLE decisions (
	decision_id INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	what VARCHAR(40) NOT NULL, 
	hold_id VARCHAR(200) NOT NULL, 
	patron_id VARCHAR(200) NOT NULL, 
	reason VARCHAR(40) DEFAULT '' NOT NULL, 
	sentence_ja TEXT DEFAULT '' NOT NULL, 
	sentence_en TEXT DEFAULT '' NOT NULL, 
	deadline DATE, 
	event_id VARCHAR(200), 
	CONSTRAINT pk_decisions PRIMARY KEY (decision_id)
);
INSERT INTO "decisions" VALUES(1,'2026-11-22 00:31:15.250000','decisions.what 図書 1','decisions.hold_id 図書 1','decisions.patron_id 図書 1','decisions.reason 図書 1','decisions.sentence_ja 図書 1','decisions.sentence_en 図書 1','2026-11-21','decisions.event_id 図書 1');
INSERT INTO "decisions" VALUES(2,'2026-11-22 00:32:15.250000','decisions.what 図書 2','decisions.hold_id 図書 2','decisions.patron_id 図書 2','decisions.reason 図書 2','decisions.sentence_ja 図書 2','decisions.sentence_en 図書 2','2026-11-22','decisions.event_id 図書 2');
INSERT INTO "decisions" VALUES(3,'2026-11-22 00:33:15.250000','decisions.what 図書 3','decisions.hold_id 図書 3','decisions.patron_id 図書 3','decisions.reason 図書 3','decisions.sentence_ja 図書 3','decisions.sentence_en 図書 3','2026-11-23','decisions.event_id 図書 3');
CREATE TABLE deliveries (
	delivery_id INTEGER NOT NULL, 
	notice_id VARCHAR(200) NOT NULL, 
	kind VARCHAR(40) NOT NULL, 
	patron_id VARCHAR(200) NOT NULL, 
	address TEXT NOT NULL, 
	address_key TEXT NOT NULL, 
	domain TEXT NOT NULL, 
	token VARCHAR(200), 
	state VARCHAR(40) NOT NULL, 
	finding VARCHAR(40) NOT NULL, 
	slot VARCHAR(200), 
	next_at DATETIME, 
	prompt BOOLEAN NOT NULL, 
	lease_owner VARCHAR(200), 
	lease_until DATETIME, 
	lease_number INTEGER, 
	tries INTEGER DEFAULT '0' NOT NULL, 
	doubts INTEGER DEFAULT '0' NOT NULL, 
	created_at DATETIME NOT NULL, 
	first_attempt_at DATETIME, 
	handed_over_at DATETIME, 
	window_ends_at DATETIME, 
	deadline DATE, 
	reason VARCHAR(40) DEFAULT '' NOT NULL, 
	fault VARCHAR(40) DEFAULT '' NOT NULL, 
	CONSTRAINT pk_deliveries PRIMARY KEY (delivery_id), 
	CONSTRAINT fk_deliveries_notice_id FOREIGN KEY(notice_id) REFERENCES notices (notice_id) ON DELETE CASCADE, 
	CONSTRAINT uq_deliveries_token UNIQUE (token)
);
INSERT INTO "deliveries" VALUES(1,'notices.notice_id 図書 1','deliveries.kind 図書 1','deliveries.patron_id 図書 1','deliveries.address 図書 1','deliveries.address_key 図書 1','deliveries.domain 図書 1','deliveries.token 図書 1','deliveries.state 図書 1','deliveries.finding 図書 1','deliveries.slot 図書 1','2026-11-22 00:31:15.250000',0,'deliveries.lease_owner 図書 1','2026-11-22 00:31:15.250000',1,1,1,'2026-11-22 00:31:15.250000','2026-11-22 00:31:15.250000','2026-11-22 00:31:15.250000','2026-11-22 00:31:15.250000','2026-11-21','deliveries.reason 図書 1','deliveries.fault 図書 1');
INSERT INTO "deliveries" VALUES(2,'notices.notice_id 図書 2','deliveries.kind 図書 2','deliveries.patron_id 図書 2','deliveries.address 図書 2','deliveries.address_key 図書 2','deliveries.domain 図書 2','deliveries.token 図書 2','deliveries.state 図書 2','deliveries.finding 図書 2','deliveries.slot 図書 2','2026-11-22 00:32:15.250000',1,'deliveries.lease_owner 図書 2','2026-11-22 00:32:15.250000',2,2,2,'2026-11-22 00:32:15.250000','2026-11-22 00:32:15.250000','2026-11-22 00:32:15.250000','2026-11-22 00:32:15.250000','2026-11-22','deliveries.reason 図書 2','deliveries.fault 図書 2');
INSERT INTO "deliveries" VALUES(3,'notices.notice_id 図書 3','deliveries.kind 図書 3','deliveries.patron_id 図書 3','deliveries.address 図書 3','deliveries.address_key 図書 3','deliveries.domain 図書 3','deliveries.token 図書 3','deliveries.state 図書 3','deliveries.finding 図書 3','deliveries.slot 図書 3','2026-11-22 00:33:15.250000',0,'deliveries.lease_owner 図書 3','2026-11-22 00:33:15.250000',3,3,3,'2026-11-22 00:33:15.250000','2026-11-22 00:33:15.250000','2026-11-22 00:33:15.250000','2026-11-22 00:33:15.250000','2026-11-23','deliveries.reason 図書 3','deliveries.fault 図書 3');
CREATE TABLE events (
	event_id VARCHAR(200) NOT NULL, 
	type VARCHAR(40) NOT NULL, 
	at DATETIME NOT NULL, 
	received_at DATETIME NOT NULL, 
	feed VARCHAR(200) NOT NULL, 
	payload JSON NOT NULL, 
	patron_id VARCHAR(200), 
	hold_id VARCHAR(200), 
	outcome VARCHAR(40) NOT NULL, 
	note TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_events PRIMARY KEY (event_id)
);
INSERT INTO "events" VALUES('events.event_id 図書 1','events.type 図書 1','2026-11-22 00:31:15.250000','2026-11-22 00:31:15.250000','events.feed 図書 1','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 1", "list": [1, null, true]}','events.patron_id 図書 1','events.hold_id 図書 1','events.outcome 図書 1','events.note 図書 1');
INSERT INTO "events" VALUES('events.event_id 図書 2','events.type 図書 2','2026-11-22 00:32:15.250000','2026-11-22 00:32:15.250000','events.feed 図書 2','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 2", "list": [2, null, true]}','events.patron_id 図書 2','events.hold_id 図書 2','events.outcome 図書 2','events.note 図書 2');
INSERT INTO "events" VALUES('events.event_id 図書 3','events.type 図書 3','2026-11-22 00:33:15.250000','2026-11-22 00:33:15.250000','events.feed 図書 3','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 3", "list": [3, null, true]}','events.patron_id 図書 3','events.hold_id 図書 3','events.outcome 図書 3','events.note 図書 3');
CREATE TABLE evidence (
	evidence_id INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	kind VARCHAR(40) NOT NULL, 
	delivery_id INTEGER, 
	address_key TEXT NOT NULL, 
	patron_id VARCHAR(200), 
	source VARCHAR(40) NOT NULL, 
	reason VARCHAR(40) DEFAULT '' NOT NULL, 
	fault VARCHAR(40) DEFAULT '' NOT NULL, 
	severity VARCHAR(40) DEFAULT '' NOT NULL, 
	phase VARCHAR(40) DEFAULT '' NOT NULL, 
	code INTEGER, 
	status VARCHAR(40) DEFAULT '' NOT NULL, 
	text TEXT DEFAULT '' NOT NULL, 
	inbound_id INTEGER, 
	fingerprint VARCHAR(200) NOT NULL, 
	withdrawn_at DATETIME, 
	withdrawn_by VARCHAR(200), 
	CONSTRAINT pk_evidence PRIMARY KEY (evidence_id), 
	CONSTRAINT uq_evidence_fingerprint UNIQUE (fingerprint)
);
INSERT INTO "evidence" VALUES(1,'2026-11-22 00:31:15.250000','evidence.kind 図書 1',1,'evidence.address_key 図書 1','evidence.patron_id 図書 1','evidence.source 図書 1','evidence.reason 図書 1','evidence.fault 図書 1','evidence.severity 図書 1','evidence.phase 図書 1',1,'evidence.status 図書 1','evidence.text 図書 1',1,'evidence.fingerprint 図書 1','2026-11-22 00:31:15.250000','evidence.withdrawn_by 図書 1');
INSERT INTO "evidence" VALUES(2,'2026-11-22 00:32:15.250000','evidence.kind 図書 2',2,'evidence.address_key 図書 2','evidence.patron_id 図書 2','evidence.source 図書 2','evidence.reason 図書 2','evidence.fault 図書 2','evidence.severity 図書 2','evidence.phase 図書 2',2,'evidence.status 図書 2','evidence.text 図書 2',2,'evidence.fingerprint 図書 2','2026-11-22 00:32:15.250000','evidence.withdrawn_by 図書 2');
INSERT INTO "evidence" VALUES(3,'2026-11-22 00:33:15.250000','evidence.kind 図書 3',3,'evidence.address_key 図書 3','evidence.patron_id 図書 3','evidence.source 図書 3','evidence.reason 図書 3','evidence.fault 図書 3','evidence.severity 図書 3','evidence.phase 図書 3',3,'evidence.status 図書 3','evidence.text 図書 3',3,'evidence.fingerprint 図書 3','2026-11-22 00:33:15.250000','evidence.withdrawn_by 図書 3');
CREATE TABLE flags (
	name VARCHAR(200) NOT NULL, 
	value JSON NOT NULL, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_flags PRIMARY KEY (name)
);
INSERT INTO "flags" VALUES('flags.name 図書 1','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 1", "list": [1, null, true]}','2026-11-22 00:31:15.250000');
INSERT INTO "flags" VALUES('flags.name 図書 2','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 2", "list": [2, null, true]}','2026-11-22 00:32:15.250000');
INSERT INTO "flags" VALUES('flags.name 図書 3','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 3", "list": [3, null, true]}','2026-11-22 00:33:15.250000');
CREATE TABLE hold_steps (
	id INTEGER NOT NULL, 
	hold_id VARCHAR(200) NOT NULL, 
	state VARCHAR(40) NOT NULL, 
	at DATETIME NOT NULL, 
	event_id VARCHAR(200), 
	inferred BOOLEAN NOT NULL, 
	CONSTRAINT pk_hold_steps PRIMARY KEY (id), 
	CONSTRAINT fk_hold_steps_hold_id FOREIGN KEY(hold_id) REFERENCES holds (hold_id) ON DELETE CASCADE
);
INSERT INTO "hold_steps" VALUES(1,'holds.hold_id 図書 1','hold_steps.state 図書 1','2026-11-22 00:31:15.250000','hold_steps.event_id 図書 1',0);
INSERT INTO "hold_steps" VALUES(2,'holds.hold_id 図書 2','hold_steps.state 図書 2','2026-11-22 00:32:15.250000','hold_steps.event_id 図書 2',1);
INSERT INTO "hold_steps" VALUES(3,'holds.hold_id 図書 3','hold_steps.state 図書 3','2026-11-22 00:33:15.250000','hold_steps.event_id 図書 3',0);
CREATE TABLE holds (
	hold_id VARCHAR(200) NOT NULL, 
	patron_id VARCHAR(200) NOT NULL, 
	branch VARCHAR(200) DEFAULT '' NOT NULL, 
	title TEXT DEFAULT '' NOT NULL, 
	material VARCHAR(40) DEFAULT '' NOT NULL, 
	via VARCHAR(40) DEFAULT '' NOT NULL, 
	availability VARCHAR(40) DEFAULT '' NOT NULL, 
	set_id VARCHAR(200), 
	volume INTEGER, 
	volume_order VARCHAR(40) DEFAULT '' NOT NULL, 
	contact VARCHAR(40), 
	state VARCHAR(40) NOT NULL, 
	reason TEXT DEFAULT '' NOT NULL, 
	event_at DATETIME NOT NULL, 
	ready_on DATE, 
	deadline DATE, 
	deadline_source VARCHAR(40), 
	clock_stopped_at DATETIME, 
	CONSTRAINT pk_holds PRIMARY KEY (hold_id)
);
INSERT INTO "holds" VALUES('holds.hold_id 図書 1','holds.patron_id 図書 1','holds.branch 図書 1','holds.title 図書 1','holds.material 図書 1','holds.via 図書 1','holds.availability 図書 1','holds.set_id 図書 1',1,'holds.volume_order 図書 1','holds.contact 図書 1','holds.state 図書 1','holds.reason 図書 1','2026-11-22 00:31:15.250000','2026-11-21','2026-11-21','holds.deadline_source 図書 1','2026-11-22 00:31:15.250000');
INSERT INTO "holds" VALUES('holds.hold_id 図書 2','holds.patron_id 図書 2','holds.branch 図書 2','holds.title 図書 2','holds.material 図書 2','holds.via 図書 2','holds.availability 図書 2','holds.set_id 図書 2',2,'holds.volume_order 図書 2','holds.contact 図書 2','holds.state 図書 2','holds.reason 図書 2','2026-11-22 00:32:15.250000','2026-11-22','2026-11-22','holds.deadline_source 図書 2','2026-11-22 00:32:15.250000');
INSERT INTO "holds" VALUES('holds.hold_id 図書 3','holds.patron_id 図書 3','holds.branch 図書 3','holds.title 図書 3','holds.material 図書 3','holds.via 図書 3','holds.availability 図書 3','holds.set_id 図書 3',3,'holds.volume_order 図書 3','holds.contact 図書 3','holds.state 図書 3','holds.reason 図書 3','2026-11-22 00:33:15.250000','2026-11-23','2026-11-23','holds.deadline_source 図書 3','2026-11-22 00:33:15.250000');
CREATE TABLE inbound (
	inbound_id INTEGER NOT NULL, 
	received_at DATETIME NOT NULL, 
	source VARCHAR(40) NOT NULL, 
	envelope_from TEXT NOT NULL, 
	envelope_to JSON NOT NULL, 
	raw BLOB, 
	truncated BOOLEAN NOT NULL, 
	digest VARCHAR(200) NOT NULL, 
	state VARCHAR(40) NOT NULL, 
	kind VARCHAR(40) DEFAULT '' NOT NULL, 
	why TEXT DEFAULT '' NOT NULL, 
	delivery_id INTEGER, 
	CONSTRAINT pk_inbound PRIMARY KEY (inbound_id), 
	CONSTRAINT uq_inbound_digest UNIQUE (digest)
);
INSERT INTO "inbound" VALUES(1,'2026-11-22 00:31:15.250000','inbound.source 図書 1','inbound.envelope_from 図書 1','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 1", "list": [1, null, true]}',X'00FF6D61696C2031',0,'inbound.digest 図書 1','inbound.state 図書 1','inbound.kind 図書 1','inbound.why 図書 1',1);
INSERT INTO "inbound" VALUES(2,'2026-11-22 00:32:15.250000','inbound.source 図書 2','inbound.envelope_from 図書 2','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 2", "list": [2, null, true]}',X'00FF6D61696C2032',1,'inbound.digest 図書 2','inbound.state 図書 2','inbound.kind 図書 2','inbound.why 図書 2',2);
INSERT INTO "inbound" VALUES(3,'2026-11-22 00:33:15.250000','inbound.source 図書 3','inbound.envelope_from 図書 3','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 3", "list": [3, null, true]}',X'00FF6D61696C2033',0,'inbound.digest 図書 3','inbound.state 図書 3','inbound.kind 図書 3','inbound.why 図書 3',3);
CREATE TABLE mail_domains (
	domain TEXT NOT NULL, 
	verdict VARCHAR(40) NOT NULL, 
	checked_at DATETIME NOT NULL, 
	ask_again_at DATETIME NOT NULL, 
	CONSTRAINT pk_mail_domains PRIMARY KEY (domain)
);
INSERT INTO "mail_domains" VALUES('mail_domains.domain 図書 1','mail_domains.verdict 図書 1','2026-11-22 00:31:15.250000','2026-11-22 00:31:15.250000');
INSERT INTO "mail_domains" VALUES('mail_domains.domain 図書 2','mail_domains.verdict 図書 2','2026-11-22 00:32:15.250000','2026-11-22 00:32:15.250000');
INSERT INTO "mail_domains" VALUES('mail_domains.domain 図書 3','mail_domains.verdict 図書 3','2026-11-22 00:33:15.250000','2026-11-22 00:33:15.250000');
CREATE TABLE notice_holds (
	notice_id VARCHAR(200) NOT NULL, 
	hold_id VARCHAR(200) NOT NULL, 
	CONSTRAINT pk_notice_holds PRIMARY KEY (notice_id, hold_id), 
	CONSTRAINT fk_notice_holds_notice_id FOREIGN KEY(notice_id) REFERENCES notices (notice_id) ON DELETE CASCADE
);
INSERT INTO "notice_holds" VALUES('notices.notice_id 図書 1','notice_holds.hold_id 図書 1');
INSERT INTO "notice_holds" VALUES('notices.notice_id 図書 2','notice_holds.hold_id 図書 2');
INSERT INTO "notice_holds" VALUES('notices.notice_id 図書 3','notice_holds.hold_id 図書 3');
CREATE TABLE notices (
	notice_id VARCHAR(200) NOT NULL, 
	kind VARCHAR(40) NOT NULL, 
	patron_id VARCHAR(200) NOT NULL, 
	branch VARCHAR(200) DEFAULT '' NOT NULL, 
	event_id VARCHAR(200), 
	created_at DATETIME NOT NULL, 
	reason TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_notices PRIMARY KEY (notice_id)
);
INSERT INTO "notices" VALUES('notices.notice_id 図書 1','notices.kind 図書 1','notices.patron_id 図書 1','notices.branch 図書 1','notices.event_id 図書 1','2026-11-22 00:31:15.250000','notices.reason 図書 1');
INSERT INTO "notices" VALUES('notices.notice_id 図書 2','notices.kind 図書 2','notices.patron_id 図書 2','notices.branch 図書 2','notices.event_id 図書 2','2026-11-22 00:32:15.250000','notices.reason 図書 2');
INSERT INTO "notices" VALUES('notices.notice_id 図書 3','notices.kind 図書 3','notices.patron_id 図書 3','notices.branch 図書 3','notices.event_id 図書 3','2026-11-22 00:33:15.250000','notices.reason 図書 3');
CREATE TABLE patron_addresses (
	id INTEGER NOT NULL, 
	patron_id VARCHAR(200) NOT NULL, 
	address TEXT NOT NULL, 
	address_key TEXT NOT NULL, 
	position INTEGER NOT NULL, 
	source VARCHAR(40) NOT NULL, 
	provisional BOOLEAN NOT NULL, 
	since DATETIME NOT NULL, 
	until DATETIME, 
	CONSTRAINT pk_patron_addresses PRIMARY KEY (id), 
	CONSTRAINT fk_patron_addresses_patron_id FOREIGN KEY(patron_id) REFERENCES patrons (patron_id) ON DELETE CASCADE
);
INSERT INTO "patron_addresses" VALUES(1,'patrons.patron_id 図書 1','patron_addresses.address 図書 1','patron_addresses.address_key 図書 1',1,'patron_addresses.source 図書 1',0,'2026-11-22 00:31:15.250000','2026-11-22 00:31:15.250000');
INSERT INTO "patron_addresses" VALUES(2,'patrons.patron_id 図書 2','patron_addresses.address 図書 2','patron_addresses.address_key 図書 2',2,'patron_addresses.source 図書 2',1,'2026-11-22 00:32:15.250000','2026-11-22 00:32:15.250000');
INSERT INTO "patron_addresses" VALUES(3,'patrons.patron_id 図書 3','patron_addresses.address 図書 3','patron_addresses.address_key 図書 3',3,'patron_addresses.source 図書 3',0,'2026-11-22 00:33:15.250000','2026-11-22 00:33:15.250000');
CREATE TABLE patrons (
	patron_id VARCHAR(200) NOT NULL, 
	name TEXT DEFAULT '' NOT NULL, 
	name_kana TEXT DEFAULT '' NOT NULL, 
	contact VARCHAR(40) NOT NULL, 
	language VARCHAR(40) DEFAULT '' NOT NULL, 
	title_policy VARCHAR(40) DEFAULT '' NOT NULL, 
	branch VARCHAR(200) DEFAULT '' NOT NULL, 
	phones JSON NOT NULL, 
	phone_note TEXT DEFAULT '' NOT NULL, 
	guardian_id VARCHAR(200), 
	provisional BOOLEAN NOT NULL, 
	overdue BOOLEAN NOT NULL, 
	feed_emails JSON NOT NULL, 
	event_at DATETIME NOT NULL, 
	departed_at DATETIME, 
	CONSTRAINT pk_patrons PRIMARY KEY (patron_id)
);
INSERT INTO "patrons" VALUES('patrons.patron_id 図書 1','patrons.name 図書 1','patrons.name_kana 図書 1','patrons.contact 図書 1','patrons.language 図書 1','patrons.title_policy 図書 1','patrons.branch 図書 1','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 1", "list": [1, null, true]}','patrons.phone_note 図書 1','patrons.guardian_id 図書 1',0,0,'{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 1", "list": [1, null, true]}','2026-11-22 00:31:15.250000','2026-11-22 00:31:15.250000');
INSERT INTO "patrons" VALUES('patrons.patron_id 図書 2','patrons.name 図書 2','patrons.name_kana 図書 2','patrons.contact 図書 2','patrons.language 図書 2','patrons.title_policy 図書 2','patrons.branch 図書 2','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 2", "list": [2, null, true]}','patrons.phone_note 図書 2','patrons.guardian_id 図書 2',1,1,'{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 2", "list": [2, null, true]}','2026-11-22 00:32:15.250000','2026-11-22 00:32:15.250000');
INSERT INTO "patrons" VALUES('patrons.patron_id 図書 3','patrons.name 図書 3','patrons.name_kana 図書 3','patrons.contact 図書 3','patrons.language 図書 3','patrons.title_policy 図書 3','patrons.branch 図書 3','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 3", "list": [3, null, true]}','patrons.phone_note 図書 3','patrons.guardian_id 図書 3',0,0,'{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 3", "list": [3, null, true]}','2026-11-22 00:33:15.250000','2026-11-22 00:33:15.250000');
CREATE TABLE provider_alerts (
	alert_id INTEGER NOT NULL, 
	domain TEXT NOT NULL, 
	opened_at DATETIME NOT NULL, 
	since DATETIME NOT NULL, 
	sent INTEGER NOT NULL, 
	shown INTEGER NOT NULL, 
	expected FLOAT NOT NULL, 
	loss_before FLOAT NOT NULL, 
	loss_now FLOAT NOT NULL, 
	suspect VARCHAR(40) NOT NULL, 
	changed_at DATETIME NOT NULL, 
	closed_at DATETIME, 
	closed_why VARCHAR(40) DEFAULT '' NOT NULL, 
	CONSTRAINT pk_provider_alerts PRIMARY KEY (alert_id)
);
INSERT INTO "provider_alerts" VALUES(1,'provider_alerts.domain 図書 1','2026-11-22 00:31:15.250000','2026-11-22 00:31:15.250000',1,1,0.25,0.25,0.25,'provider_alerts.suspect 図書 1','2026-11-22 00:31:15.250000','2026-11-22 00:31:15.250000','provider_alerts.closed_why 図書 1');
INSERT INTO "provider_alerts" VALUES(2,'provider_alerts.domain 図書 2','2026-11-22 00:32:15.250000','2026-11-22 00:32:15.250000',2,2,0.5,0.5,0.5,'provider_alerts.suspect 図書 2','2026-11-22 00:32:15.250000','2026-11-22 00:32:15.250000','provider_alerts.closed_why 図書 2');
INSERT INTO "provider_alerts" VALUES(3,'provider_alerts.domain 図書 3','2026-11-22 00:33:15.250000','2026-11-22 00:33:15.250000',3,3,0.75,0.75,0.75,'provider_alerts.suspect 図書 3','2026-11-22 00:33:15.250000','2026-11-22 00:33:15.250000','provider_alerts.closed_why 図書 3');
CREATE TABLE provider_weeks (
	domain TEXT NOT NULL, 
	begins DATE NOT NULL, 
	mails INTEGER NOT NULL, 
	signs INTEGER NOT NULL, 
	expected FLOAT NOT NULL, 
	CONSTRAINT pk_provider_weeks PRIMARY KEY (domain, begins)
);
INSERT INTO "provider_weeks" VALUES('provider_weeks.domain 図書 1','2026-11-21',1,1,0.25);
INSERT INTO "provider_weeks" VALUES('provider_weeks.domain 図書 2','2026-11-22',2,2,0.5);
INSERT INTO "provider_weeks" VALUES('provider_weeks.domain 図書 3','2026-11-23',3,3,0.75);
CREATE TABLE public_holidays (
	day DATE NOT NULL, 
	name TEXT NOT NULL, 
	CONSTRAINT pk_public_holidays PRIMARY KEY (day)
);
INSERT INTO "public_holidays" VALUES('2026-11-21','public_holidays.name 図書 1');
INSERT INTO "public_holidays" VALUES('2026-11-22','public_holidays.name 図書 2');
INSERT INTO "public_holidays" VALUES('2026-11-23','public_holidays.name 図書 3');
CREATE TABLE reception_runs (
	branch VARCHAR(200) NOT NULL, 
	day DATE NOT NULL, 
	until DATETIME NOT NULL, 
	started_at DATETIME NOT NULL, 
	finished_at DATETIME, 
	"by" TEXT DEFAULT '' NOT NULL, 
	placed INTEGER DEFAULT '0' NOT NULL, 
	refused INTEGER DEFAULT '0' NOT NULL, 
	cancelled INTEGER DEFAULT '0' NOT NULL, 
	cancel_refused INTEGER DEFAULT '0' NOT NULL, 
	CONSTRAINT pk_reception_runs PRIMARY KEY (branch, day)
);
INSERT INTO "reception_runs" VALUES('reception_runs.branch 図書 1','2026-11-21','2026-11-22 00:31:15.250000','2026-11-22 00:31:15.250000','2026-11-22 00:31:15.250000','reception_runs.by 図書 1',1,1,1,1);
INSERT INTO "reception_runs" VALUES('reception_runs.branch 図書 2','2026-11-22','2026-11-22 00:32:15.250000','2026-11-22 00:32:15.250000','2026-11-22 00:32:15.250000','reception_runs.by 図書 2',2,2,2,2);
INSERT INTO "reception_runs" VALUES('reception_runs.branch 図書 3','2026-11-23','2026-11-22 00:33:15.250000','2026-11-22 00:33:15.250000','2026-11-22 00:33:15.250000','reception_runs.by 図書 3',3,3,3,3);
CREATE TABLE risks (
	notice_id VARCHAR(200) NOT NULL, 
	risk FLOAT NOT NULL, 
	unseen FLOAT NOT NULL, 
	reasons JSON NOT NULL, 
	lapses_at DATETIME, 
	alarming BOOLEAN NOT NULL, 
	computed_at DATETIME NOT NULL, 
	CONSTRAINT pk_risks PRIMARY KEY (notice_id), 
	CONSTRAINT fk_risks_notice_id FOREIGN KEY(notice_id) REFERENCES notices (notice_id) ON DELETE CASCADE
);
INSERT INTO "risks" VALUES('notices.notice_id 図書 1',0.25,0.25,'{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 1", "list": [1, null, true]}','2026-11-22 00:31:15.250000',0,'2026-11-22 00:31:15.250000');
INSERT INTO "risks" VALUES('notices.notice_id 図書 2',0.5,0.5,'{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 2", "list": [2, null, true]}','2026-11-22 00:32:15.250000',1,'2026-11-22 00:32:15.250000');
INSERT INTO "risks" VALUES('notices.notice_id 図書 3',0.75,0.75,'{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 3", "list": [3, null, true]}','2026-11-22 00:33:15.250000',0,'2026-11-22 00:33:15.250000');
CREATE TABLE sessions (
	session_key VARCHAR(200) NOT NULL, 
	login VARCHAR(200) NOT NULL, 
	created_at DATETIME NOT NULL, 
	seen_at DATETIME NOT NULL, 
	CONSTRAINT pk_sessions PRIMARY KEY (session_key), 
	CONSTRAINT fk_sessions_login FOREIGN KEY(login) REFERENCES users (login) ON DELETE CASCADE
);
INSERT INTO "sessions" VALUES('sessions.session_key 図書 1','users.login 図書 1','2026-11-22 00:31:15.250000','2026-11-22 00:31:15.250000');
INSERT INTO "sessions" VALUES('sessions.session_key 図書 2','users.login 図書 2','2026-11-22 00:32:15.250000','2026-11-22 00:32:15.250000');
INSERT INTO "sessions" VALUES('sessions.session_key 図書 3','users.login 図書 3','2026-11-22 00:33:15.250000','2026-11-22 00:33:15.250000');
CREATE TABLE snapshot_rows (
	feed VARCHAR(200) NOT NULL, 
	kind VARCHAR(40) NOT NULL, 
	"key" VARCHAR(200) NOT NULL, 
	mark VARCHAR(40) NOT NULL, 
	until VARCHAR(40) DEFAULT '' NOT NULL, 
	digest VARCHAR(40) NOT NULL, 
	CONSTRAINT pk_snapshot_rows PRIMARY KEY (feed, kind, "key")
);
INSERT INTO "snapshot_rows" VALUES('snapshot_rows.feed 図書 1','snapshot_rows.kind 図書 1','snapshot_rows.key 図書 1','snapshot_rows.mark 図書 1','snapshot_rows.until 図書 1','snapshot_rows.digest 図書 1');
INSERT INTO "snapshot_rows" VALUES('snapshot_rows.feed 図書 2','snapshot_rows.kind 図書 2','snapshot_rows.key 図書 2','snapshot_rows.mark 図書 2','snapshot_rows.until 図書 2','snapshot_rows.digest 図書 2');
INSERT INTO "snapshot_rows" VALUES('snapshot_rows.feed 図書 3','snapshot_rows.kind 図書 3','snapshot_rows.key 図書 3','snapshot_rows.mark 図書 3','snapshot_rows.until 図書 3','snapshot_rows.digest 図書 3');
CREATE TABLE snapshot_runs (
	run_id INTEGER NOT NULL, 
	feed VARCHAR(200) NOT NULL, 
	kind VARCHAR(40) NOT NULL, 
	file TEXT NOT NULL, 
	digest VARCHAR(200) NOT NULL, 
	as_of DATETIME NOT NULL, 
	started_at DATETIME NOT NULL, 
	finished_at DATETIME, 
	state VARCHAR(40) NOT NULL, 
	baseline BOOLEAN NOT NULL, 
	forced_by TEXT DEFAULT '' NOT NULL, 
	prompts INTEGER DEFAULT '0' NOT NULL, 
	figures JSON NOT NULL, 
	CONSTRAINT pk_snapshot_runs PRIMARY KEY (run_id)
);
INSERT INTO "snapshot_runs" VALUES(1,'snapshot_runs.feed 図書 1','snapshot_runs.kind 図書 1','snapshot_runs.file 図書 1','snapshot_runs.digest 図書 1','2026-11-22 00:31:15.250000','2026-11-22 00:31:15.250000','2026-11-22 00:31:15.250000','snapshot_runs.state 図書 1',0,'snapshot_runs.forced_by 図書 1',1,'{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 1", "list": [1, null, true]}');
INSERT INTO "snapshot_runs" VALUES(2,'snapshot_runs.feed 図書 2','snapshot_runs.kind 図書 2','snapshot_runs.file 図書 2','snapshot_runs.digest 図書 2','2026-11-22 00:32:15.250000','2026-11-22 00:32:15.250000','2026-11-22 00:32:15.250000','snapshot_runs.state 図書 2',1,'snapshot_runs.forced_by 図書 2',2,'{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 2", "list": [2, null, true]}');
INSERT INTO "snapshot_runs" VALUES(3,'snapshot_runs.feed 図書 3','snapshot_runs.kind 図書 3','snapshot_runs.file 図書 3','snapshot_runs.digest 図書 3','2026-11-22 00:33:15.250000','2026-11-22 00:33:15.250000','2026-11-22 00:33:15.250000','snapshot_runs.state 図書 3',0,'snapshot_runs.forced_by 図書 3',3,'{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 3", "list": [3, null, true]}');
CREATE TABLE troubles (
	"key" VARCHAR(200) NOT NULL, 
	trouble VARCHAR(40) NOT NULL, 
	subject VARCHAR(200) NOT NULL, 
	since DATETIME NOT NULL, 
	facts JSON NOT NULL, 
	told_at DATETIME, 
	gone_since DATETIME, 
	CONSTRAINT pk_troubles PRIMARY KEY ("key")
);
INSERT INTO "troubles" VALUES('troubles.key 図書 1','troubles.trouble 図書 1','troubles.subject 図書 1','2026-11-22 00:31:15.250000','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 1", "list": [1, null, true]}','2026-11-22 00:31:15.250000','2026-11-22 00:31:15.250000');
INSERT INTO "troubles" VALUES('troubles.key 図書 2','troubles.trouble 図書 2','troubles.subject 図書 2','2026-11-22 00:32:15.250000','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 2", "list": [2, null, true]}','2026-11-22 00:32:15.250000','2026-11-22 00:32:15.250000');
INSERT INTO "troubles" VALUES('troubles.key 図書 3','troubles.trouble 図書 3','troubles.subject 図書 3','2026-11-22 00:33:15.250000','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 3", "list": [3, null, true]}','2026-11-22 00:33:15.250000','2026-11-22 00:33:15.250000');
CREATE TABLE users (
	login VARCHAR(200) NOT NULL, 
	name TEXT DEFAULT '' NOT NULL, 
	role VARCHAR(40) NOT NULL, 
	branches JSON NOT NULL, 
	password TEXT NOT NULL, 
	password_once BOOLEAN NOT NULL, 
	created_at DATETIME NOT NULL, 
	disabled_at DATETIME, 
	CONSTRAINT pk_users PRIMARY KEY (login)
);
INSERT INTO "users" VALUES('users.login 図書 1','users.name 図書 1','users.role 図書 1','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 1", "list": [1, null, true]}','users.password 図書 1',0,'2026-11-22 00:31:15.250000','2026-11-22 00:31:15.250000');
INSERT INTO "users" VALUES('users.login 図書 2','users.name 図書 2','users.role 図書 2','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 2", "list": [2, null, true]}','users.password 図書 2',1,'2026-11-22 00:32:15.250000','2026-11-22 00:32:15.250000');
INSERT INTO "users" VALUES('users.login 図書 3','users.name 図書 3','users.role 図書 3','{"\u66f8\u540d": "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b 3", "list": [3, null, true]}','users.password 図書 3',0,'2026-11-22 00:33:15.250000','2026-11-22 00:33:15.250000');
CREATE INDEX ix_addresses_domain ON addresses (domain);
CREATE INDEX ix_audit_at_who_what ON audit (at, who, what);
CREATE INDEX ix_audit_subject ON audit (subject);
CREATE INDEX ix_canaries_address_fate ON canaries (address, fate);
CREATE INDEX ix_canaries_settled_at ON canaries (settled_at);
CREATE INDEX ix_case_actions_patron_id ON case_actions (patron_id);
CREATE INDEX ix_cases_patron_id ON cases (patron_id);
CREATE INDEX ix_cases_state_deadline ON cases (state, deadline);
CREATE UNIQUE INDEX uq_cases_open_patron ON cases (patron_id) WHERE state = 'open';
CREATE INDEX ix_decisions_at ON decisions (at);
CREATE INDEX ix_decisions_hold_id ON decisions (hold_id);
CREATE INDEX ix_decisions_patron_id ON decisions (patron_id);
CREATE INDEX ix_events_hold_id ON events (hold_id);
CREATE INDEX ix_events_outcome_at ON events (outcome, at);
CREATE INDEX ix_events_patron_id ON events (patron_id);
CREATE INDEX ix_evidence_address_at ON evidence (address_key, at);
CREATE INDEX ix_evidence_delivery_id ON evidence (delivery_id);
CREATE INDEX ix_evidence_patron_id ON evidence (patron_id);
CREATE INDEX ix_holds_patron_state ON holds (patron_id, state);
CREATE INDEX ix_holds_state_deadline ON holds (state, deadline);
CREATE INDEX ix_inbound_delivery_id ON inbound (delivery_id);
CREATE INDEX ix_inbound_state ON inbound (state, inbound_id);
CREATE INDEX ix_mail_domains_ask_again_at ON mail_domains (ask_again_at);
CREATE INDEX ix_notices_patron_id ON notices (patron_id);
CREATE INDEX ix_patrons_guardian ON patrons (guardian_id) WHERE guardian_id IS NOT NULL;
CREATE UNIQUE INDEX uq_provider_alerts_open_domain ON provider_alerts (domain) WHERE closed_at IS NULL;
CREATE INDEX ix_snapshot_runs_feed_kind ON snapshot_runs (feed, kind, run_id);
CREATE INDEX ix_case_steps_case_id ON case_steps (case_id);
CREATE INDEX ix_deliveries_address_key ON deliveries (address_key);
CREATE INDEX ix_deliveries_created ON deliveries (created_at);
CREATE INDEX ix_deliveries_due ON deliveries (prompt, next_at) WHERE state IN ('pending', 'retrying', 'uncertain') AND lease_owner IS NULL AND next_at IS NOT NULL;
CREATE INDEX ix_deliveries_handed_over ON deliveries (handed_over_at);
CREATE INDEX ix_deliveries_notice_id ON deliveries (notice_id);
CREATE INDEX ix_deliveries_patron_id ON deliveries (patron_id);
CREATE INDEX ix_deliveries_unreleased ON deliveries (created_at) WHERE state = 'pending' AND slot IS NULL AND next_at IS NULL;
CREATE INDEX ix_deliveries_window ON deliveries (finding, window_ends_at);
CREATE INDEX ix_hold_steps_hold_id ON hold_steps (hold_id);
CREATE INDEX ix_notice_holds_hold ON notice_holds (hold_id);
CREATE INDEX ix_patron_addresses_address_key ON patron_addresses (address_key);
CREATE INDEX ix_patron_addresses_patron_until ON patron_addresses (patron_id, until);
CREATE INDEX ix_sessions_login ON sessions (login);
COMMIT;
