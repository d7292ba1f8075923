// SPDX-License-Identifier: GPL-2.0
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "doc.h"

#define DEPTH	16

void doc_text(struct json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, json_object_new_string(text));
}

void doc_print(struct json_object *o, const char *key, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	doc_text(o, key, text);
}

void doc_hex(struct json_object *o, const char *key, uint64_t value)
{
	doc_print(o, key, "0x%" PRIx64, value);
}

void doc_count(struct json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

void doc_bool(struct json_object *o, const char *key, bool value)
{
	json_object_object_add(o, key, json_object_new_boolean(value));
}

struct json_object *doc_object(struct json_object *o, const char *key)
{
	struct json_object *sub = json_object_new_object();

	json_object_object_add(o, key, sub);
	return sub;
}

struct json_object *doc_array(struct json_object *o, const char *key)
{
	struct json_object *sub = json_object_new_array();

	json_object_object_add(o, key, sub);
	return sub;
}

static struct json_object *get(struct json_object *o, const char *key, enum json_type type)
{
	struct json_object *sub;

	if (!json_object_is_type(o, json_type_object) || !json_object_object_get_ex(o, key, &sub))
		return NULL;
	return json_object_is_type(sub, type) ? sub : NULL;
}

const char *doc_get_text(struct json_object *o, const char *key)
{
	struct json_object *sub = get(o, key, json_type_string);

	return sub ? json_object_get_string(sub) : NULL;
}

uint64_t doc_get_hex(struct json_object *o, const char *key)
{
	const char *text = doc_get_text(o, key);

	return text ? strtoull(text, NULL, 16) : 0;
}

uint64_t doc_get_count(struct json_object *o, const char *key)
{
	struct json_object *sub = get(o, key, json_type_int);

	return sub ? json_object_get_uint64(sub) : 0;
}

bool doc_get_bool(struct json_object *o, const char *key)
{
	struct json_object *sub = get(o, key, json_type_boolean);

	return sub && json_object_get_boolean(sub);
}

struct json_object *doc_get_object(struct json_object *o, const char *key)
{
	return get(o, key, json_type_object);
}

size_t doc_length(struct json_object *o, const char *key)
{
	struct json_object *sub = get(o, key, json_type_array);

	return sub ? json_object_array_length(sub) : 0;
}

struct json_object *doc_element(struct json_object *o, const char *key, size_t i)
{
	struct json_object *sub = get(o, key, json_type_array);

	return sub ? json_object_array_get_idx(sub, i) : NULL;
}

struct json_object *doc_parse(const char *text, size_t len)
{
	struct json_tokener *tok = json_tokener_new_ex(DEPTH);
	struct json_object *o;

	if (!tok)
		return NULL;
	o = len > INT_MAX ? NULL : json_tokener_parse_ex(tok, text, len);
	if (o && (json_tokener_get_error(tok) != json_tokener_success ||
		  json_tokener_get_parse_end(tok) != len || !json_object_is_type(o, json_type_object))) {
		json_object_put(o);
		o = NULL;
	}
	json_tokener_free(tok);
	return o;
}
