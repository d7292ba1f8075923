// SPDX-License-Identifier: GPL-2.0
/* The guest of `cleave bench generations`: memory, vCPUs, and what their exits ask for. */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "generations.h"
#include "../boot/boot.h"
#include "../cmd/cmd.h"
#include "../cmd/machine.h"

#define FEATURES	(CLEAVE_FEATURE_EXIT_HYPERCALL | CLEAVE_FEATURE_LAPIC | \
			 CLEAVE_FEATURE_RECORDER | CLEAVE_FEATURE_PV)
#define PIT_PORT	0x40
#define SEL_CODE	0x08
#define SEL_DATA	0x10
#define PAGE_TABLE	0x03		/* present, writable */
#define PAGE_2M		0x83

/* Of program.S. */
struct gen_gate {
	uint32_t vector, offset;
};

extern const uint8_t gen_guest[], gen_guest_end[];
extern const struct gen_gate gen_gates[];

int gen_fail(struct gen *g, int error, const char *what)
{
	int none = 0;
	unsigned int i;

	if (atomic_compare_exchange_strong(&g->failed, &none, error))
		atomic_store(&g->what, what);
	for (i = 0; i < GEN_VCPUS; i++)
		cleave_kick(g->vcpu[i].fd);
	pthread_cond_broadcast(&g->parked);
	return atomic_load(&g->failed);
}

/* ---- devices ---------------------------------------------------------------------- */

static uint64_t clock_now(struct dev_clock *clock)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

static void set_line(void *gen, unsigned int nr, bool level)
{
	struct gen *g = gen;

	pic_set(&g->pic, nr, level);
}

/* The paravirtual disk: all that is in its ring, and an interrupt. */
static void ring_bell(void *gen, uint64_t offset, unsigned int size, uint64_t value)
{
	struct gen *g = gen;

	if (gen_ring_take((void *)gen_u32(g, GEN_BLOCK_RING), &g->mem, &g->sink, true) < 0)
		gen_fail(g, -EINVAL, "the guest's ring");
	if (cleave_msi(g->vm, LAPIC_BASE, GEN_VEC_BLOCK) < 0)
		gen_fail(g, -EINVAL, "CLEAVE_MSI");
}

static void wire(struct gen *g)
{
	const struct irq_line line = { .set = set_line, .ctx = g };
	const struct bus_range ports[] = {
		{ COM1_PORT, 8, 1, &g->uart, uart_read, uart_write },
		{ PIT_PORT, 4, 1, &g->pit, pit_read, pit_write },
		{ 0x20, 2, 1, &g->pic, pic_master_read, pic_master_write },
		{ 0xa0, 2, 1, &g->pic, pic_slave_read, pic_slave_write },
		{ PM1A_EVT_PORT, 12, 4, &g->pm, pm_read, NULL },
		{ GEN_PORT_ATA, 8, 2, &g->ata, gen_ata_read, gen_ata_write },
		{ GEN_PORT_BELL, 4, 4, g, NULL, ring_bell },
	};
	size_t i;

	g->clock.now = clock_now;
	g->uart.irq = g->pit.irq = g->ata.irq = g->pm.sci = line;
	g->uart.irq.nr = COM1_IRQ;
	g->ata.irq.nr = GEN_ATA_IRQ;
	g->pm.sci.nr = ACPI_SCI_IRQ;
	g->uart.tx = gen_sink_byte;
	g->uart.tx_ctx = g->ata.sink = &g->sink;
	pic_init(&g->pic);
	uart_init(&g->uart);
	pit_init(&g->pit, &g->clock);
	pm_init(&g->pm, &g->clock);
	for (i = 0; i < ARRAY_SIZE(ports); i++)
		bus_add(&g->pio, &ports[i]);
}

/* ---- what the assist asks for: strings to ports, and the local APIC's page ---------- */

static int lapic(struct gen_vcpu *v, uint64_t gpa, uint32_t *value, unsigned int size, bool write)
{
	struct cleave_lapic_access a = { .offset = gpa - LAPIC_BASE, .write = write, .value = *value };
	int ret;

	if (gpa - LAPIC_BASE >= 0x1000 || (gpa & 15) || size != 4)
		return -ENXIO;
	ret = cleave_lapic_access(v->fd, &a);
	*value = a.value;
	return ret < 0 ? ret : 0;
}

static int on_mmio_read(void *opaque, uint64_t gpa, void *data, unsigned int size)
{
	uint32_t value = 0;
	int ret = lapic(opaque, gpa, &value, size, false);

	memcpy(data, &value, size < 4 ? size : 4);
	return ret;
}

static int on_mmio_write(void *opaque, uint64_t gpa, const void *data, unsigned int size)
{
	uint32_t value = 0;

	memcpy(&value, data, size < 4 ? size : 4);
	return lapic(opaque, gpa, &value, size, true);
}

static int on_pio_in(void *opaque, uint16_t port, uint32_t *data, unsigned int size)
{
	struct gen *g = ((struct gen_vcpu *)opaque)->gen;

	pthread_mutex_lock(&g->lock);
	*data = bus_read(&g->pio, port, size);
	pthread_mutex_unlock(&g->lock);
	return 0;
}

static int on_pio_out(void *opaque, uint16_t port, uint32_t data, unsigned int size)
{
	struct gen *g = ((struct gen_vcpu *)opaque)->gen;
	uint64_t one = 1;
	bool wake;

	pthread_mutex_lock(&g->lock);
	bus_write(&g->pio, port, size, data);
	wake = pit_deadline(&g->pit) < g->sleeps_until;
	if (wake)
		g->sleeps_until = 0;
	pthread_mutex_unlock(&g->lock);
	return wake && write(g->wake, &one, sizeof(one)) < 0 ? -errno : 0;
}

/* ---- exits -------------------------------------------------------------------------- */

static bool is_out(const struct cleave_run *run, uint16_t port)
{
	return run->exit == CLEAVE_EXIT_IO && run->io.port == port &&
	       (run->io.flags & CLEAVE_ACCESS_WRITE);
}

static int on_exit_of(struct gen_vcpu *v)
{
	struct cleave_run *run = v->run;
	struct gen *g = v->gen;

	switch (run->exit) {
	case CLEAVE_EXIT_IO:
		if (is_out(run, GEN_PORT_PARK + 1))
			return gen_fail(g, -EPROTO, "the guest: an interrupt that nobody sent");
		if (run->io.flags & CLEAVE_ACCESS_STRING)
			break;
		if (run->io.flags & CLEAVE_ACCESS_WRITE)
			return on_pio_out(v, run->io.port, run->io.data, run->io.size);
		return on_pio_in(v, run->io.port, &run->io.data, run->io.size);
	case CLEAVE_EXIT_MMIO:
	case CLEAVE_EXIT_INSN:
		break;
	case CLEAVE_EXIT_HYPERCALL:
		if (run->hypercall.nr != GEN_HYPERCALL ||
		    !cleave_mem_ptr(&g->mem, run->hypercall.args[0], run->hypercall.args[1]))
			return gen_fail(g, -EPROTO, "the guest: a hypercall that is none");
		gen_sink_line(&g->sink, cleave_mem_ptr(&g->mem, run->hypercall.args[0],
						       run->hypercall.args[1]),
			      run->hypercall.args[1]);
		return 0;
	case CLEAVE_EXIT_NONE:
	case CLEAVE_EXIT_WINDOW:
	case CLEAVE_EXIT_EOI:
		return 0;
	default:
		return gen_fail(g, -EPROTO, cleave_exit_name(run->exit));
	}
	return cleave_assist(&v->assist, run) ?
	       gen_fail(g, -EPROTO, "the guest: an instruction that cannot be carried out") : 0;
}

/* The vector is asked for when the vCPU can take it, and not sooner. */
static int inject(struct gen_vcpu *v)
{
	struct cleave_state state = { .groups = CLEAVE_EVENTS };
	int ret = cleave_get_state(v->fd, &state);

	if (ret < 0)
		return ret;
	state.events.extint = 1;
	state.events.extint_vector = pic_acknowledge(&v->gen->pic);
	return cleave_set_state(v->fd, &state);
}

/* The 8254 may be due by now, and the 8259 want the vCPU's attention. */
static int offer_pic(struct gen_vcpu *v)
{
	struct gen *g = v->gen;
	int ret = 0;

	if (v->id)
		return 0;
	pthread_mutex_lock(&g->lock);
	pit_tick(&g->pit);
	v->run->request = 0;
	if (pic_output(&g->pic) && v->run->exit != CLEAVE_EXIT_NONE && v->run->window)
		ret = inject(v);
	else if (pic_output(&g->pic))
		v->run->request = CLEAVE_RUN_WINDOW;
	pthread_mutex_unlock(&g->lock);
	return ret < 0 ? gen_fail(g, ret, "an interrupt by the 8259") : 0;
}

int gen_run_vcpu(struct gen_vcpu *v)
{
	struct gen *g = v->gen;
	int ret;

	do {
		ret = cleave_run(v->fd);
		if (ret == -EINTR || ret == -EAGAIN)
			ret = 0;
		else if (ret < 0)
			return gen_fail(g, ret, "CLEAVE_RUN");
		else if (is_out(v->run, GEN_PORT_PARK))
			return 0;
		else
			ret = on_exit_of(v);
		if (!ret)
			ret = offer_pic(v);
		if (!ret)
			ret = atomic_load(&g->failed);
	} while (!ret);
	return gen_fail(g, ret, "a port");
}

int gen_job(struct gen *g, unsigned int id, uint32_t fn, uint64_t rounds)
{
	uint64_t box = GEN_BOX + id * GEN_BOX_SIZE;
	int ret = 0;

	*gen_u32(g, box + BOX_FN) = fn;
	*gen_u64(g, box + BOX_ROUNDS) = rounds;
	if (!id) {
		atomic_store(&g->started, gen_now(g));
		ret = gen_run_vcpu(&g->vcpu[0]);
		atomic_store(&g->started, 0);
		return ret;
	}
	pthread_mutex_lock(&g->lock);
	g->work = true;
	pthread_cond_broadcast(&g->parked);
	while (g->work && !atomic_load(&g->failed) && fn != GEN_FN_LISTEN)
		pthread_cond_wait(&g->parked, &g->lock);
	pthread_mutex_unlock(&g->lock);
	return atomic_load(&g->failed);
}

int gen_listen(struct gen *g, bool on)
{
	*gen_u32(g, SHARED_LISTEN) = on;
	if (on) {
		gen_job(g, 1, GEN_FN_LISTEN, 0);
		while (!*gen_u32(g, SHARED_LISTENS) && !atomic_load(&g->failed)) {
			_mm_pause();
			sched_yield();
		}
		return atomic_load(&g->failed);
	}
	pthread_mutex_lock(&g->lock);
	while (g->work && !atomic_load(&g->failed))
		pthread_cond_wait(&g->parked, &g->lock);
	pthread_mutex_unlock(&g->lock);
	return atomic_load(&g->failed);
}

/* ---- making it ------------------------------------------------------------------------ */

static int fail_create(int error, const char *what)
{
	if (error == -ENOMEM)
		complain("%s: the host is out of memory; free some", what);
	else
		module_failed(error, what);
	return error;
}

/* Identity for the first GiB and the fourth, where the local APIC is; gates; the work. */
static void load(struct gen *g)
{
	uint64_t *gdt = (uint64_t *)gen_u64(g, GEN_GDT), *idt = (uint64_t *)gen_u64(g, GEN_IDT);
	const struct gen_gate *gate;
	unsigned int i;
	uint64_t at;

	gdt[SEL_CODE / 8] = 0x00af9b000000ffff;
	gdt[SEL_DATA / 8] = 0x00cf93000000ffff;
	*gen_u64(g, GEN_PML4) = GEN_PDPT | PAGE_TABLE;
	*gen_u64(g, GEN_PDPT) = GEN_PD_LOW | PAGE_TABLE;
	*gen_u64(g, GEN_PDPT + 3 * 8) = GEN_PD_HIGH | PAGE_TABLE;
	for (i = 0; i < 512; i++) {
		*gen_u64(g, GEN_PD_LOW + i * 8) = (uint64_t)i << 21 | PAGE_2M;
		*gen_u64(g, GEN_PD_HIGH + i * 8) = (3ULL << 30) | (uint64_t)i << 21 | PAGE_2M;
	}
	for (i = 0; i < 256; i++) {
		for (gate = gen_gates; gate->vector && gate->vector != i; gate++)
			;
		at = GEN_CODE + gate->offset;
		idt[2 * i] = at >> 16 << 48 | 0x8e00ULL << 32 | SEL_CODE << 16 | (at & 0xffff);
	}
	memcpy(g->ram + GEN_CODE, gen_guest, gen_guest_end - gen_guest);
	gen_make_line(g->ram + GEN_LINE, 0);
	gen_make_block(g->ram + GEN_BLOCK, 0);
	*gen_u32(g, SHARED_SVM) = g->info.vendor == CLEAVE_VENDOR_SVM;
	*gen_u32(g, SHARED_DEADLINE) = !!(g->info.features & CLEAVE_FEATURE_TSC_DEADLINE);
	for (i = 0; i < GEN_VCPUS; i++)
		*gen_u32(g, GEN_BOX + i * GEN_BOX_SIZE + BOX_ID) = i;
}

static struct cleave_segment segment(uint16_t selector, uint64_t base, uint32_t limit, uint32_t ar)
{
	return (struct cleave_segment){
		.selector = selector, .base = base, .limit = limit, .ar = ar
	};
}

static int set_registers(struct gen_vcpu *v)
{
	struct cleave_state st = { .groups = CLEAVE_REGS | CLEAVE_SREGS | CLEAVE_MP };
	struct cleave_segment data = segment(SEL_DATA, 0, 0xffffffff, 0xc093);
	struct cleave_sregs *s = &st.sregs;
	int ret = cleave_get_state(v->fd, &st);

	if (ret < 0)
		return ret;
	memset(&st.regs, 0, sizeof(st.regs));
	st.regs.rip = GEN_CODE;
	st.regs.rsp = GEN_STACK + v->id * 0x1000;
	st.regs.rflags = 2;
	s->cs = segment(SEL_CODE, 0, 0xffffffff, 0xa09b);
	s->ds = s->es = s->fs = s->gs = s->ss = data;
	s->gs.base = GEN_BOX + v->id * GEN_BOX_SIZE;
	s->tr = segment(0x18, GEN_GDT + 0x100, 0x67, 0x8b);
	s->ldt = segment(0, 0, 0, CLEAVE_AR_UNUSABLE);
	s->gdt = (struct cleave_dtable){ .base = GEN_GDT, .limit = 0x17 };
	s->idt = (struct cleave_dtable){ .base = GEN_IDT, .limit = 0xfff };
	s->cr0 = 0x80010033;		/* PG, WP, NE, ET, MP, PE */
	s->cr3 = GEN_PML4;
	s->cr4 = 0x20;			/* PAE */
	s->efer = 0x500;		/* LMA, LME */
	st.mp.state = CLEAVE_MP_RUNNABLE;
	return cleave_set_state(v->fd, &st);
}

static int create_vcpu(struct gen_vcpu *v)
{
	struct gen *g = v->gen;
	int ret;

	v->assist = (struct cleave_assist){
		.mem = &g->mem, .opaque = v,
		.mmio_read = on_mmio_read, .mmio_write = on_mmio_write,
		.pio_in = on_pio_in, .pio_out = on_pio_out,
	};
	ret = cleave_assist_init(&v->assist);
	if (ret < 0)
		return fail_create(ret, "the instruction assist");
	v->fd = cleave_create_vcpu(g->vm, v->id);
	if (v->fd < 0)
		return fail_create(v->fd, "create a vCPU");
	ret = cleave_map_run(v->fd, g->info.run_size, &v->run);
	if (ret >= 0)
		ret = cleave_map_recorder(v->fd, &g->info, &v->recorder);
	if (ret < 0)
		return fail_create(ret, "map a vCPU's pages");
	ret = set_registers(v);
	if (ret < 0)
		return fail_create(ret, "set a vCPU's registers");
	return gen_run_vcpu(v) ? fail_create(atomic_load(&g->failed), "run a vCPU") : 0;
}

static int create_vm(struct gen *g)
{
	struct cleave_slot slot = { .size = GEN_MEMORY };
	int ret;

	g->dev = cleave_open(NULL);
	if (g->dev < 0)
		return open_failed(g->dev);
	ret = cleave_info(g->dev, &g->info);
	if (ret >= 0 && ((g->info.features & FEATURES) != FEATURES ||
			 g->info.recorder_size < sizeof(struct cleave_recorder)))
		ret = -ENOTTY;		/* older than this tool */
	if (ret < 0)
		return fail_create(ret, "CLEAVE_INFO");
	g->vm = cleave_create_vm(g->dev, CLEAVE_VM_EXIT_HYPERCALL);
	if (g->vm < 0)
		return fail_create(g->vm, "create a VM");
	slot.hva = (uintptr_t)g->ram;
	ret = cleave_set_slot(g->vm, &slot);
	return ret < 0 ? fail_create(ret, "guest memory") : 0;
}

int gen_create(struct gen *g)
{
	unsigned int i;
	int ret;

	memset(g, 0, sizeof(*g));
	g->dev = g->vm = -1;
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->parked, NULL);
	for (i = 0; i < GEN_VCPUS; i++)
		g->vcpu[i] = (struct gen_vcpu){ .gen = g, .id = i, .fd = -1 };
	wire(g);
	if (sched_getaffinity(0, sizeof(g->cpus), &g->cpus))
		CPU_SET(0, &g->cpus);
	g->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	g->ram = mmap(NULL, GEN_MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (g->ram == MAP_FAILED)
		g->ram = NULL;
	if (!g->ram || g->wake < 0)
		return fail_create(-errno, "guest memory, an eventfd");
	cleave_mem_add(&g->mem, 0, GEN_MEMORY, g->ram, 0);
	ret = create_vm(g);
	if (ret)
		return ret;
	load(g);
	for (i = 0; i < GEN_VCPUS && !ret; i++)
		ret = create_vcpu(&g->vcpu[i]);
	return ret;
}

static void destroy_vcpu(struct gen_vcpu *v)
{
	if (v->recorder)
		cleave_unmap_recorder(v->recorder, &v->gen->info);
	if (v->run)
		cleave_unmap_run(v->run, v->gen->info.run_size);
	if (v->fd >= 0)
		close(v->fd);
	cleave_assist_free(&v->assist);
}

void gen_destroy(struct gen *g)
{
	unsigned int i;

	gen_stop_threads(g);
	for (i = 0; i < GEN_VCPUS; i++)
		destroy_vcpu(&g->vcpu[i]);
	if (g->vm >= 0)
		close(g->vm);
	if (g->dev >= 0)
		close(g->dev);
	if (g->wake >= 0)
		close(g->wake);
	if (g->ram)
		munmap(g->ram, GEN_MEMORY);
	pthread_cond_destroy(&g->parked);
	pthread_mutex_destroy(&g->lock);
}
