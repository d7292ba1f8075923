/* SPDX-License-Identifier: GPL-2.0 */
/*
 * JSON documents: what the tool says of a guest is one, whoever it is for.
 * Addresses and register values are strings "0x...", as JSON's numbers do not
 * hold 64 bits everywhere; counts are numbers.
 */
#ifndef CLEAVE_DOC_H
#define CLEAVE_DOC_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

/* Members of an object, in the order they are added. */
void doc_text(struct json_object *o, const char *key, const char *text);
void doc_print(struct json_object *o, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void doc_hex(struct json_object *o, const char *key, uint64_t value);
void doc_count(struct json_object *o, const char *key, uint64_t value);
void doc_bool(struct json_object *o, const char *key, bool value);
struct json_object *doc_object(struct json_object *o, const char *key);
struct json_object *doc_array(struct json_object *o, const char *key);

/*
 * The same, read: o may be NULL, anything may be missing or of another type.
 * A text is then NULL, a number 0, an object NULL, an array of no elements.
 */
const char *doc_get_text(struct json_object *o, const char *key);
uint64_t doc_get_hex(struct json_object *o, const char *key);
uint64_t doc_get_count(struct json_object *o, const char *key);
bool doc_get_bool(struct json_object *o, const char *key);
struct json_object *doc_get_object(struct json_object *o, const char *key);
size_t doc_length(struct json_object *o, const char *key);
struct json_object *doc_element(struct json_object *o, const char *key, size_t i);

/* The object that text of len bytes is, and nothing more; NULL if it is not. */
struct json_object *doc_parse(const char *text, size_t len);

#endif /* CLEAVE_DOC_H */
