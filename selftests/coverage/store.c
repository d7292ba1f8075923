// SPDX-License-Identifier: GPL-2.0
/*
 * Keeps what the coverage counters of cleave.ko say, over its unloading, and
 * gives it as .gcda files: /sys/kernel/debug/cleave_coverage is a sequence of
 *	u32 length of the name, u32 length of the data, name, data
 * Loaded before cleave.ko, and never unloaded.
 */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include "gcov.h"

/* One source file's: words of a .gcda file, in which the counters are summed up. */
struct kept {
	struct list_head node;
	const char *name;
	size_t words;
	u32 data[];
};

static LIST_HEAD(kept_files);
static DEFINE_MUTEX(kept_lock);
static const struct gcov_info **live_first, **live_last;

static size_t words_of(const struct gcov_info *info)
{
	size_t words = 4;
	unsigned int i;

	for (i = 0; i < info->n_functions; i++)
		words += 5 + 2 + 2 * (size_t)info->functions[i]->arcs.num;
	return words;
}

static struct kept *kept_find(const char *name)
{
	struct kept *k;

	list_for_each_entry(k, &kept_files, node)
		if (!strcmp(k->name, name))
			return k;
	return NULL;
}

static u32 *put_function(u32 *p, const struct gcov_fn_info *fn)
{
	*p++ = GCOV_TAG_FUNCTION;
	*p++ = 3 * sizeof(u32);
	*p++ = fn->ident;
	*p++ = fn->lineno_checksum;
	*p++ = fn->cfg_checksum;
	*p++ = GCOV_TAG_ARCS;
	*p++ = fn->arcs.num * sizeof(u64);
	return p;
}

/* Moves counters from the module to what is kept. */
static void take_arcs(u32 *p, const struct gcov_ctr_info *arcs)
{
	unsigned int i;
	u64 sum;

	for (i = 0; i < arcs->num; i++, p += 2) {
		sum = (u64)p[1] << 32 | p[0];
		sum += xchg(&arcs->values[i], 0);
		p[0] = lower_32_bits(sum);
		p[1] = upper_32_bits(sum);
	}
}

static void take_file(const struct gcov_info *info)
{
	struct kept *k = kept_find(info->filename);
	size_t words = words_of(info);
	unsigned int i;
	u32 *p;

	if (!k) {
		k = vzalloc(struct_size(k, data, words));
		if (!k)
			return;
		k->name = kstrdup(info->filename, GFP_KERNEL);
		if (!k->name) {
			vfree(k);
			return;
		}
		k->words = words;
		list_add_tail(&k->node, &kept_files);
	}
	if (WARN_ON(k->words != words))
		return;
	p = k->data;
	*p++ = GCOV_DATA_MAGIC;
	*p++ = info->version;
	*p++ = info->stamp;
	*p++ = info->checksum;
	for (i = 0; i < info->n_functions; i++) {
		const struct gcov_ctr_info *arcs = &info->functions[i]->arcs;

		p = put_function(p, info->functions[i]);
		take_arcs(p, arcs);
		p += 2 * (size_t)arcs->num;
	}
}

static void take_all(void)
{
	const struct gcov_info **info;

	lockdep_assert_held(&kept_lock);
	for (info = live_first; info && info < live_last; info++)
		if (*info)
			take_file(*info);
}

/* A symbol that the module exports; it may still be on its way in. */
static void *symbol_in(const struct module *mod, const char *name)
{
	unsigned int i;

	for (i = 0; i < mod->num_gpl_syms; i++) {
		const struct kernel_symbol *sym = &mod->gpl_syms[i];

		if (!strcmp(offset_to_ptr(&sym->name_offset), name))
			return offset_to_ptr(&sym->value_offset);
	}
	return NULL;
}

static int module_event(struct notifier_block *nb, unsigned long event, void *data)
{
	const struct module *mod = data;

	if (strcmp(mod->name, "cleave"))
		return NOTIFY_DONE;
	mutex_lock(&kept_lock);
	if (event == MODULE_STATE_COMING) {
		live_first = symbol_in(mod, "coverage_first");
		live_last = symbol_in(mod, "coverage_last");
	} else if (event == MODULE_STATE_GOING) {
		take_all();
		live_first = NULL;
		live_last = NULL;
	}
	mutex_unlock(&kept_lock);
	return NOTIFY_OK;
}

/* Behind cleave's own notifiers. */
static struct notifier_block module_nb = {
	.notifier_call = module_event,
	.priority = INT_MIN,
};

static void *append(void *to, const void *from, size_t len)
{
	memcpy(to, from, len);
	return to + len;
}

/* All files in a buffer, at open: a reader sees one state. */
static int coverage_open(struct inode *inode, struct file *file)
{
	size_t len = 0;
	struct kept *k;
	void *buf, *p;

	mutex_lock(&kept_lock);
	take_all();
	list_for_each_entry(k, &kept_files, node)
		len += 2 * sizeof(u32) + strlen(k->name) + k->words * sizeof(u32);
	buf = p = vmalloc(len + sizeof(len));
	if (buf) {
		p = append(p, &len, sizeof(len));
		list_for_each_entry(k, &kept_files, node) {
			u32 head[2] = { strlen(k->name), k->words * sizeof(u32) };

			p = append(p, head, sizeof(head));
			p = append(p, k->name, head[0]);
			p = append(p, k->data, head[1]);
		}
	}
	mutex_unlock(&kept_lock);
	file->private_data = buf;
	return buf ? 0 : -ENOMEM;
}

static ssize_t coverage_read(struct file *file, char __user *to, size_t n, loff_t *pos)
{
	const size_t *buf = file->private_data;

	return simple_read_from_buffer(to, n, pos, buf + 1, *buf);
}

static int coverage_release(struct inode *inode, struct file *file)
{
	vfree(file->private_data);
	return 0;
}

static const struct file_operations coverage_fops = {
	.owner	 = THIS_MODULE,
	.open	 = coverage_open,
	.read	 = coverage_read,
	.release = coverage_release,
	.llseek	 = default_llseek,
};

static int __init store_init(void)
{
	debugfs_create_file("cleave_coverage", 0400, NULL, NULL, &coverage_fops);
	return register_module_notifier(&module_nb);
}
module_init(store_init);

MODULE_DESCRIPTION("Keeps the coverage counters of cleave.ko; test only");
MODULE_LICENSE("GPL");
