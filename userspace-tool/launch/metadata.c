// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "metadata.h"

#define TTL_MAX		21600		/* s, of a token: as EC2 has it */

struct text {
	const char *p;
	size_t n;
};

enum method { GET, HEAD, PUT, OTHER };

struct request {
	enum method method;
	struct text target, token;	/* token: p may be NULL */
	bool close, forwarded, coded, has_length;
	unsigned long ttl;		/* 0: none that is good */
	size_t head, length;		/* bytes: up to the empty line and with it; of the body */
};

static bool is(struct text t, const char *word)
{
	return t.n == strlen(word) && !memcmp(t.p, word, t.n);
}

static bool is_nocase(struct text t, const char *word)
{
	return t.n == strlen(word) && !strncasecmp(t.p, word, t.n);
}

/* Takes word away from the front, if it is there. */
static bool skip(struct text *t, const char *word)
{
	size_t n = strlen(word);

	if (t->n < n || memcmp(t->p, word, n))
		return false;
	t->p += n;
	t->n -= n;
	return true;
}

/* Up to c, which is taken away too; or all of it. */
static struct text until(struct text *t, char c)
{
	const char *at = t->n ? memchr(t->p, c, t->n) : NULL;
	struct text part = { t->p, at ? (size_t)(at - t->p) : t->n };
	size_t n = part.n + !!at;

	t->p += n;
	t->n -= n;
	return part;
}

static struct text trim(struct text t)
{
	while (t.n && (*t.p == ' ' || *t.p == '\t')) {
		t.p++;
		t.n--;
	}
	while (t.n && (t.p[t.n - 1] == ' ' || t.p[t.n - 1] == '\t'))
		t.n--;
	return t;
}

/* Digits alone, below a limit. */
static bool number(struct text t, unsigned long max, unsigned long *value)
{
	size_t i;

	*value = 0;
	for (i = 0; i < t.n; i++) {
		if (t.p[i] < '0' || t.p[i] > '9')
			return false;
		*value = *value * 10 + t.p[i] - '0';
		if (*value > max)
			return false;
	}
	return t.n;
}

/* ---- the request: 0, or the status that refuses it ---------------------------------- */

/* How long the head is: 0: its end is not there. */
static size_t head_length(struct text in)
{
	size_t i;

	for (i = 0; i + 1 < in.n; i++)
		if (in.p[i] == '\n' && (in.p[i + 1] == '\n' ||
					(i + 2 < in.n && in.p[i + 1] == '\r' && in.p[i + 2] == '\n')))
			return i + (in.p[i + 1] == '\n' ? 2 : 3);
	return 0;
}

/* A line without its end; false: it has a character that none may have. */
static bool next_line(struct text *in, struct text *line)
{
	size_t i;

	*line = until(in, '\n');
	if (line->n && line->p[line->n - 1] == '\r')
		line->n--;
	for (i = 0; i < line->n; i++)
		if (((unsigned char)line->p[i] < ' ' && line->p[i] != '\t') || line->p[i] == 0x7f)
			return false;
	return true;
}

/* RFC 9112, 3: method, target, version, one space between them. */
static int request_line(struct request *r, struct text line)
{
	static const char *const methods[] = { [GET] = "GET", [HEAD] = "HEAD", [PUT] = "PUT" };
	struct text method = until(&line, ' ');

	for (r->method = GET; r->method < OTHER && !is(method, methods[r->method]); r->method++)
		;
	r->target = until(&line, ' ');
	if (!method.n || !r->target.n)
		return 400;
	if (is(line, "HTTP/1.0"))
		r->close = true;
	else if (!is(line, "HTTP/1.1"))
		return line.n > 5 && !memcmp(line.p, "HTTP/", 5) ? 505 : 400;
	/* 3.2.2: a proxy's form. */
	if (skip(&r->target, "http://")) {
		const char *slash = memchr(r->target.p, '/', r->target.n);

		if (!slash)
			return 400;
		r->target.n -= slash - r->target.p;
		r->target.p = slash;
	}
	return *r->target.p == '/' ? 0 : 400;
}

static int header(struct request *r, struct text line)
{
	const char *colon = memchr(line.p, ':', line.n);
	struct text name = { line.p, colon ? (size_t)(colon - line.p) : 0 }, value;
	unsigned long n;

	/* 5.1, 5.2: no space before the colon, no line that goes on. */
	if (!name.n || memchr(name.p, ' ', name.n) || memchr(name.p, '\t', name.n))
		return 400;
	value = trim((struct text){ colon + 1, line.n - name.n - 1 });
	if (is_nocase(name, "content-length")) {
		if (!number(value, 1UL << 40, &n) || (r->has_length && n != r->length))
			return 400;
		r->length = n;
		r->has_length = true;
	} else if (is_nocase(name, "transfer-encoding")) {
		r->coded = true;
	} else if (is_nocase(name, "connection")) {
		while (value.n)
			r->close |= is_nocase(trim(until(&value, ',')), "close");
	} else if (is_nocase(name, "x-forwarded-for")) {
		r->forwarded = true;
	} else if (is_nocase(name, "x-aws-ec2-metadata-token")) {
		r->token = value;
	} else if (is_nocase(name, "x-aws-ec2-metadata-token-ttl-seconds")) {
		r->ttl = number(value, TTL_MAX, &n) ? n : 0;
	}
	return 0;
}

static int parse(struct request *r, struct text head)
{
	struct text line;
	int status;

	if (!next_line(&head, &line))
		return 400;
	status = request_line(r, line);
	while (!status && head.n) {
		if (!next_line(&head, &line))
			return 400;
		if (line.n)
			status = header(r, line);
	}
	if (!status && r->coded)
		status = 501;
	if (!status && r->length > METADATA_REQUEST_MAX - r->head)
		status = 413;
	return status;
}

/* ---- what there is ------------------------------------------------------------------ */

/* The nth key's line; false: there are not so many. */
static bool find_key(const struct metadata *m, unsigned long n, struct text *key)
{
	struct text all = { m->keys, m->keys ? m->keys_len : 0 };

	while (all.n) {
		*key = until(&all, '\n');
		while (key->n && (key->p[key->n - 1] == '\r' || key->p[key->n - 1] == ' '))
			key->n--;
		if (key->n && *key->p != '#' && !n--)
			return true;
	}
	return false;
}

/* path: behind "public-keys". Statuses from here on: 200 with a body, or 404. */
static int public_keys(FILE *f, const struct metadata *m, struct text path)
{
	struct text key;
	unsigned long n;

	if (!path.n) {
		for (n = 0; find_key(m, n, &key); n++)
			fprintf(f, "%s%lu=key-%lu", n ? "\n" : "", n, n);
		return 200;
	}
	if (!skip(&path, "/") || !number(until(&path, '/'), 10000, &n) || !find_key(m, n, &key))
		return 404;
	if (!path.n) {
		fputs("openssh-key", f);
		return 200;
	}
	if (!is(path, "openssh-key"))
		return 404;
	fwrite(key.p, 1, key.n, f);
	return 200;
}

/* path: behind "meta-data". */
static int meta_data(FILE *f, const struct metadata *m, struct text path)
{
	const struct {
		const char *name, *value;
	} leaf[] = {
		{ "ami-id", m->image },
		{ "ami-launch-index", "0" },
		{ "hostname", m->hostname },
		{ "instance-id", m->instance_id },
		{ "instance-type", m->type },
		{ "local-hostname", m->hostname },
		{ "local-ipv4", m->address },
	};
	size_t i;

	if (!path.n) {
		for (i = 0; i < sizeof(leaf) / sizeof(leaf[0]); i++)
			if (leaf[i].value)
				fprintf(f, "%s\n", leaf[i].name);
		fputs("public-keys/", f);
		return 200;
	}
	if (!skip(&path, "/"))
		return 404;
	if (skip(&path, "public-keys"))
		return public_keys(f, m, path);
	for (i = 0; i < sizeof(leaf) / sizeof(leaf[0]); i++) {
		if (!leaf[i].value || !is(path, leaf[i].name))
			continue;
		fputs(leaf[i].value, f);
		return 200;
	}
	return 404;
}

static int user_data(FILE *f, const struct metadata *m)
{
	if (!m->user_data)
		return 404;
	fwrite(m->user_data, 1, m->user_data_len, f);
	return 200;
}

/* cloud-init's NoCloud: one document in place of a tree. Quoted, as JSON, which is YAML. */
static int nocloud(FILE *f, const struct metadata *m, struct text path)
{
	if (is(path, "/user-data"))
		return user_data(f, m);
	if (is(path, "/vendor-data"))
		return 200;
	if (!is(path, "/meta-data"))
		return 404;
	fprintf(f, "{ \"instance-id\": \"%s\", \"local-hostname\": \"%s\" }\n", m->instance_id, m->hostname);
	return 200;
}

static int resource(FILE *f, const struct metadata *m, struct text path)
{
	static const char *const versions[] = {
		"2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "latest"
	};
	struct text rest = path, version;
	size_t i, n = sizeof(versions) / sizeof(versions[0]);

	if (!path.n) {
		for (i = 0; i < n; i++)
			fprintf(f, "%s%s", i ? "\n" : "", versions[i]);
		return 200;
	}
	skip(&rest, "/");
	version = until(&rest, '/');
	for (i = 0; i < n && !is(version, versions[i]); i++)
		;
	if (i == n)
		return nocloud(f, m, path);
	if (!rest.n) {
		fputs(m->user_data ? "meta-data\nuser-data" : "meta-data", f);
		return 200;
	}
	if (skip(&rest, "meta-data"))
		return meta_data(f, m, rest);
	return is(rest, "user-data") ? user_data(f, m) : 404;
}

/* ---- the answer ----------------------------------------------------------------------- */

static int token(FILE *f, const struct metadata *m, const struct request *r, struct text path)
{
	if (!is(path, "/latest/api/token"))
		return 405;
	/* A proxy that anyone may use must not fetch one for them. */
	if (r->forwarded)
		return 403;
	if (!r->ttl)
		return 400;
	fputs(m->token, f);
	return 200;
}

static int answer(FILE *f, const struct metadata *m, const struct request *r)
{
	struct text query = r->target, path = until(&query, '?');

	if (path.n && path.p[path.n - 1] == '/')
		path.n--;
	if (r->method == PUT)
		return token(f, m, r, path);
	if (r->method == OTHER)
		return 405;
	/* Without one, as before there were tokens; a wrong one is somebody's guess. */
	if (r->token.p && !is(r->token, m->token))
		return 401;
	return resource(f, m, path);
}

static const char *reason(int status)
{
	static const struct {
		int status;
		const char *text;
	} known[] = {
		{ 200, "OK" }, { 400, "Bad Request" }, { 401, "Unauthorized" }, { 403, "Forbidden" },
		{ 404, "Not Found" }, { 405, "Method Not Allowed" }, { 413, "Content Too Large" },
		{ 431, "Request Header Fields Too Large" }, { 501, "Not Implemented" },
		{ 505, "HTTP Version Not Supported" },
	};
	size_t i;

	for (i = 0; known[i].status != status; i++)
		;
	return known[i].text;
}

/* Of a refusal the body is its reason. */
static void put_reply(FILE *f, int status, const struct request *r, const char *body, size_t len, bool close)
{
	if (status != 200) {
		body = reason(status);
		len = strlen(body);
	}
	fprintf(f, "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n", status,
		reason(status), len);
	if (status == 405)
		fputs("Allow: GET, HEAD, PUT\r\n", f);
	if (status == 200 && r->method == PUT)
		fprintf(f, "X-aws-ec2-metadata-token-ttl-seconds: %lu\r\n", r->ttl);
	fprintf(f, "Server: cleave\r\nConnection: %s\r\n\r\n", close ? "close" : "keep-alive");
	if (r->method != HEAD)
		fwrite(body, 1, len, f);
}

ssize_t metadata_answer(const struct metadata *m, const char *in, size_t len, struct metadata_reply *reply)
{
	struct text all = { in, len < METADATA_REQUEST_MAX ? len : METADATA_REQUEST_MAX };
	struct request r = { .head = head_length(all) };
	size_t body_len = 0;
	char *body = NULL;
	int status = 431;
	FILE *f;

	if (!r.head && len < METADATA_REQUEST_MAX)
		return 0;
	if (r.head)
		status = parse(&r, (struct text){ in, r.head });
	if (!status && len < r.head + r.length)
		return 0;
	*reply = (struct metadata_reply){ .close = status || r.close };
	if (!status) {
		f = open_memstream(&body, &body_len);
		if (f)
			status = answer(f, m, &r);
		if (!f || fclose(f)) {
			free(body);
			return -ENOMEM;
		}
	}
	f = open_memstream(&reply->data, &reply->len);
	if (f)
		put_reply(f, status, &r, body, body_len, reply->close);
	free(body);
	if (f && !fclose(f))
		return reply->close ? len : r.head + r.length;
	if (f)
		free(reply->data);
	return -ENOMEM;
}
