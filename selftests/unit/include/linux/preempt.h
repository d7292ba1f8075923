/* SPDX-License-Identifier: GPL-2.0 */
struct preempt_notifier { int unused; };
