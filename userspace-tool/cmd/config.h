/* SPDX-License-Identifier: GPL-2.0 */
/* Files of options: `name = value` a line, # begins a comment. */
#ifndef CLEAVE_CONFIG_H
#define CLEAVE_CONFIG_H

#include <stddef.h>

/* The file, to be freed. 0 or -errno with one line in err. */
int config_read(const char *path, char **text, char *err, size_t errlen);
/*
 * The next line of *text that has something: 1, with *value NULL if it has no
 * '='; 0: there is none; -EINVAL: it has no name. *nr counts lines. Both are in
 * the text, which changes.
 */
int config_line(char **text, unsigned int *nr, char **name, char **value);

#endif /* CLEAVE_CONFIG_H */
