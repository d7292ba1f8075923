/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the module's files use of the kernel, for one thread in user space.
 * Every header below linux/ and asm/ here includes this one. Locks count, so
 * that a test can see whether they are held and given back.
 */
#ifndef UNIT_SHIM_H
#define UNIT_SHIM_H

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include </usr/include/linux/types.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s8 s8;
typedef __s16 s16;
typedef __s32 s32;
typedef __s64 s64;
typedef unsigned int gfp_t;
typedef s64 ktime_t;

#define __user
#define __init
#define __exit
#define __iomem
#define __percpu
#define __must_hold(x)
#define __acquires(x)
#define __releases(x)
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define noinline	__attribute__((noinline))
#define __aligned(n)	__attribute__((aligned(n)))
#define __packed	__attribute__((packed))
#define __maybe_unused	__attribute__((unused))
#define fallthrough	__attribute__((fallthrough))
#define EXPORT_SYMBOL_GPL(x)

#define BIT(n)		(1UL << (n))
#define BIT_ULL(n)	(1ULL << (n))
#define GENMASK(h, l)	(((~0UL) << (l)) & (~0UL >> (63 - (h))))
#define GENMASK_ULL(h, l) (((~0ULL) << (l)) & (~0ULL >> (63 - (h))))
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define likely(x)	__builtin_expect(!!(x), 1)
#define unlikely(x)	__builtin_expect(!!(x), 0)
#define barrier()	__asm__ __volatile__("" ::: "memory")
#define min(a, b)	({ __auto_type _a = (a); __auto_type _b = (b); _a < _b ? _a : _b; })
#define max(a, b)	({ __auto_type _a = (a); __auto_type _b = (b); _a > _b ? _a : _b; })
#define min_t(t, a, b)	min((t)(a), (t)(b))
#define max_t(t, a, b)	max((t)(a), (t)(b))
#define clamp_t(t, v, lo, hi) min_t(t, max_t(t, v, lo), hi)
#define swap(a, b)	do { __auto_type _t = (a); (a) = (b); (b) = _t; } while (0)
#define container_of(p, type, member) ((type *)((char *)(p) - offsetof(type, member)))
#define struct_size(p, member, n) (sizeof(*(p)) + sizeof(*(p)->member) * (n))
#define lower_32_bits(n) ((u32)(n))
#define upper_32_bits(n) ((u32)((u64)(n) >> 32))
#define IS_ENABLED(x)	0
#define U32_MAX		UINT32_MAX
#define U64_MAX		UINT64_MAX
#define S64_MAX		0x7fffffffffffffffLL

#define PAGE_SHIFT	12
#define PAGE_SIZE	(1UL << PAGE_SHIFT)
#define PAGE_MASK	(~(PAGE_SIZE - 1))
#define ALIGN(x, a)	(((x) + ((typeof(x))(a) - 1)) & ~((typeof(x))(a) - 1))
#define ALIGN_DOWN(x, a) ((x) & ~((typeof(x))(a) - 1))
#define IS_ALIGNED(x, a) (((x) & ((typeof(x))(a) - 1)) == 0)
#define PAGE_ALIGNED(x)	IS_ALIGNED((unsigned long)(x), PAGE_SIZE)

/* A bug of the module fails the program: tests cannot go on behind it. */
#define unit_bug(cond, text)						\
	({								\
		bool _c = !!(cond);					\
									\
		if (_c) {						\
			printf("Bail out! %s:%d: %s\n", __FILE__, __LINE__, text); \
			abort();					\
		}							\
		_c;							\
	})
#define WARN_ON_ONCE(c)	unit_bug(c, #c)
#define WARN_ON(c)	unit_bug(c, #c)
#define BUG_ON(c)	unit_bug(c, #c)
#define BUILD_BUG_ON(c)	_Static_assert(!(c), #c)
#define static_assert	_Static_assert

#define READ_ONCE(x)	(*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile typeof(x) *)&(x) = (v))
#define smp_load_acquire(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define smp_store_release(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define smp_mb()	__atomic_thread_fence(__ATOMIC_SEQ_CST)
#define smp_rmb()	smp_mb()
#define smp_wmb()	smp_mb()
#define smp_mb__after_atomic() smp_mb()
#define smp_mb__before_atomic() smp_mb()
#define xchg(p, v)	__atomic_exchange_n(p, v, __ATOMIC_SEQ_CST)
#define cmpxchg(p, o, n)						\
	({								\
		typeof(*(p)) _o = (o);					\
									\
		__atomic_compare_exchange_n(p, &_o, n, false,		\
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
		_o;							\
	})
#define cmpxchg64	cmpxchg
#define try_cmpxchg64(p, o, n)						\
	__atomic_compare_exchange_n(p, o, n, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
#define try_cmpxchg	try_cmpxchg64

typedef struct { int counter; } atomic_t;
typedef struct { s64 counter; } atomic64_t;
typedef atomic64_t atomic_long_t;

#define ATOMIC_INIT(n)		{ (n) }
#define unit_add_fetch(v, n)	__atomic_add_fetch(&(v)->counter, n, __ATOMIC_SEQ_CST)
#define atomic_read(v)		READ_ONCE((v)->counter)
#define atomic_set(v, n)	WRITE_ONCE((v)->counter, n)
#define atomic_inc(v)		((void)unit_add_fetch(v, 1))
#define atomic_dec(v)		((void)unit_add_fetch(v, -1))
#define atomic_add(n, v)	((void)unit_add_fetch(v, n))
#define atomic_inc_return(v)	unit_add_fetch(v, 1)
#define atomic_dec_and_test(v)	(unit_add_fetch(v, -1) == 0)
#define atomic_xchg(v, n)	xchg(&(v)->counter, n)
#define atomic_fetch_or(n, v)	__atomic_fetch_or(&(v)->counter, n, __ATOMIC_SEQ_CST)
#define atomic64_read		atomic_read
#define atomic64_set		atomic_set
#define atomic64_inc		atomic_inc
#define atomic64_inc_return	atomic_inc_return
#define atomic_long_read	atomic_read
#define atomic_long_set		atomic_set
#define atomic_long_inc		atomic_inc
#define atomic_long_dec		atomic_dec
#define atomic_long_dec_and_test	atomic_dec_and_test
#define atomic_long_add		atomic_add
#define atomic_long_sub(n, v)	atomic_add(-(n), v)

typedef struct { int readers, writers; } rwlock_t;
typedef struct { int held; } spinlock_t;
typedef spinlock_t raw_spinlock_t;
struct mutex { int held; };

#define rwlock_init(l)		(*(l) = (rwlock_t){ 0 })
#define read_lock(l)		(assert(!(l)->writers), (void)(l)->readers++)
#define read_unlock(l)		(assert((l)->readers > 0), (void)(l)->readers--)
#define write_lock(l)		(assert(!(l)->writers && !(l)->readers), (void)(l)->writers++)
#define write_unlock(l)		(assert((l)->writers == 1), (void)(l)->writers--)
#define spin_lock_init(l)	((l)->held = 0)
#define spin_lock(l)		(assert(!(l)->held), (void)((l)->held = 1))
#define spin_unlock(l)		(assert((l)->held), (void)((l)->held = 0))
#define spin_lock_irqsave(l, f)	((f) = 0, spin_lock(l))
#define spin_unlock_irqrestore(l, f) ((void)(f), spin_unlock(l))
#define raw_spin_lock_init	spin_lock_init
#define raw_spin_lock		spin_lock
#define raw_spin_unlock		spin_unlock
#define raw_spin_lock_irqsave	spin_lock_irqsave
#define raw_spin_unlock_irqrestore spin_unlock_irqrestore
#define DEFINE_MUTEX(m)		struct mutex m
#define mutex_init		spin_lock_init
#define mutex_lock		spin_lock
#define mutex_unlock		spin_unlock
static inline void unit_held(int held)
{
	assert(held);
}

/* mutex, spinlock and rwlock_t have different fields: choose by type. */
#define unit_any_held(l)	_Generic(*(l),				\
	rwlock_t: ((rwlock_t *)(void *)(l))->readers + ((rwlock_t *)(void *)(l))->writers, \
	default: ((spinlock_t *)(void *)(l))->held)
#define lockdep_assert_held(l)		unit_held(unit_any_held(l))
#define lockdep_assert_held_write(l)	unit_held((l)->writers)
#define lockdep_assert_held_read(l)	unit_held((l)->readers)
#define lockdep_is_held(l)		unit_any_held(l)

static inline void set_bit(long nr, unsigned long *addr)
{
	addr[nr / 64] |= 1UL << (nr % 64);
}

static inline void clear_bit(long nr, unsigned long *addr)
{
	addr[nr / 64] &= ~(1UL << (nr % 64));
}

static inline bool test_bit(long nr, const unsigned long *addr)
{
	return addr[nr / 64] >> (nr % 64) & 1;
}

static inline bool test_and_set_bit(long nr, unsigned long *addr)
{
	bool old = test_bit(nr, addr);

	set_bit(nr, addr);
	return old;
}

static inline bool test_and_clear_bit(long nr, unsigned long *addr)
{
	bool old = test_bit(nr, addr);

	clear_bit(nr, addr);
	return old;
}

static inline void assign_bit(long nr, unsigned long *addr, bool value)
{
	if (value)
		set_bit(nr, addr);
	else
		clear_bit(nr, addr);
}

#define __set_bit	set_bit
#define __clear_bit	clear_bit

static inline int fls(unsigned int x)
{
	return x ? 32 - __builtin_clz(x) : 0;
}

static inline int __fls(unsigned long x)
{
	return 63 - __builtin_clzl(x);
}

static inline int __ffs(unsigned long x)
{
	return __builtin_ctzl(x);
}

#define fls64(x)	((x) ? 64 - __builtin_clzll(x) : 0)
#define ffs(x)		__builtin_ffs(x)
#define hweight32(x)	__builtin_popcount(x)
#define hweight64(x)	__builtin_popcountll(x)

/*
 * Memory: unit_alloc_fail counts down at each allocation; the one that takes
 * it from 1 to 0 fails. 0: none fails. unit_pages: pages not freed yet.
 */
static int unit_alloc_fail __attribute__((unused));
static long unit_pages __attribute__((unused));

#define GFP_KERNEL		1
#define GFP_KERNEL_ACCOUNT	2
#define GFP_ATOMIC		4
#define __GFP_ZERO		8
#define __GFP_ACCOUNT		16
#define __GFP_NOWARN		32

static inline bool unit_alloc_fails(void)
{
	return unit_alloc_fail && --unit_alloc_fail == 0;
}

static inline void *kzalloc(size_t size, gfp_t gfp)
{
	return unit_alloc_fails() ? NULL : calloc(1, size);
}

#define kmalloc		kzalloc
#define kvzalloc	kzalloc
#define kvmalloc	kzalloc
#define kcalloc(n, s, g) kzalloc((size_t)(n) * (s), g)
#define kfree(p)	free((void *)(p))
#define kvfree		kfree

static inline unsigned long __get_free_page(gfp_t gfp)
{
	void *p = unit_alloc_fails() ? NULL : aligned_alloc(PAGE_SIZE, PAGE_SIZE);

	if (!p)
		return 0;
	__atomic_add_fetch(&unit_pages, 1, __ATOMIC_SEQ_CST);
	return (unsigned long)memset(p, gfp & __GFP_ZERO ? 0 : 0xaa, PAGE_SIZE);
}

#define get_zeroed_page(g)	__get_free_page((g) | __GFP_ZERO)

static inline void free_page(unsigned long p)
{
	if (p) {
		__atomic_sub_fetch(&unit_pages, 1, __ATOMIC_SEQ_CST);
		free((void *)p);
	}
}

/* Physical addresses of tables are their virtual ones here. */
#define __pa(p)		((u64)(unsigned long)(p))
#define __va(p)		((void *)(unsigned long)(p))
#define __sme_set(x)	(x)
#define __sme_clr(x)	(x)
#define sme_me_mask	0ULL
#define cond_resched()	((void)0)
#define preempt_disable() ((void)0)
#define preempt_enable() ((void)0)
#define strscpy(to, from, size)	snprintf(to, size, "%s", from)
#define might_sleep()	((void)0)
#define cpu_relax()	((void)0)

#define pr_info(...)	((void)0)
#define pr_err(...)	((void)0)
#define pr_warn(...)	((void)0)
#define pr_debug(...)	((void)0)

static inline const void *memchr_inv(const void *p, int c, size_t size)
{
	for (const u8 *at = p; size--; at++)
		if (*at != (u8)c)
			return at;
	return NULL;
}

struct list_head { struct list_head *next, *prev; };
struct hlist_node { struct hlist_node *next, **pprev; };
struct kref { atomic_t refcount; };
struct rcuwait { void *task; };
struct rcu_head { void *next; };
struct fpu_guest { u64 xfeatures; void *fpstate; };
struct mm_struct { int users; };
struct file_operations { int unused; };
struct vm_area_struct;

/* Time stands still but where a test changes it. */
static ktime_t unit_now __attribute__((unused));

#define NSEC_PER_MSEC		1000000L
#define CLOCK_MONOTONIC		1
#define HRTIMER_MODE_ABS_HARD	0
#define ktime_get()		unit_now
#define ktime_add_ns(t, ns)	((ktime_t)((t) + (ns)))
#define mul_u64_u64_div_u64(a, b, c) ((u64)((unsigned __int128)(a) * (b) / (c)))

enum hrtimer_restart { HRTIMER_NORESTART, HRTIMER_RESTART };
struct hrtimer {
	ktime_t expires;
	bool active;
	enum hrtimer_restart (*function)(struct hrtimer *t);
};

#define hrtimer_init(t, clock, mode)	((void)((t)->active = false))
#define hrtimer_start(t, when, mode)	((void)((t)->expires = (when), (t)->active = true))
#define hrtimer_is_queued(t)		((t)->active)
#define hrtimer_try_to_cancel(t)	((void)((t)->active = false))
#define hrtimer_cancel			hrtimer_try_to_cancel

#endif /* UNIT_SHIM_H */
