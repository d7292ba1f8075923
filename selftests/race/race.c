// SPDX-License-Identifier: GPL-2.0
/*
 * A data race, for test hosts: two threads count in one variable for a second
 * after insmod. A kernel with KCSAN that does not report it would not report
 * cleave's either.
 */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/module.h>

static unsigned long race_count;

static int race_thread(void *data)
{
	while (!kthread_should_stop()) {
		race_count++;
		cond_resched();
	}
	return 0;
}

static int __init race_init(void)
{
	struct task_struct *thread[2];
	unsigned int i;

	for (i = 0; i < 2; i++) {
		thread[i] = kthread_create(race_thread, NULL, "race/%u", i);
		if (IS_ERR(thread[i]))
			break;
		kthread_bind(thread[i], cpumask_nth(i % num_online_cpus(), cpu_online_mask));
		wake_up_process(thread[i]);
	}
	msleep(1000);
	while (i--)
		kthread_stop(thread[i]);
	return 0;
}
module_init(race_init);

static void __exit race_exit(void)
{
}
module_exit(race_exit);

MODULE_DESCRIPTION("Two threads that race; test only");
MODULE_LICENSE("GPL");
