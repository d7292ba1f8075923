/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The device models of `cleave run`. Each is plain logic: no thread, no lock,
 * no system call. The machine around them calls every function under one
 * lock, tells them the time and carries their interrupts away.
 */
#ifndef CLEAVE_DEV_H
#define CLEAVE_DEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NS_PER_SEC	1000000000ULL
#define DEV_NEVER	UINT64_MAX	/* no deadline */

/* Time as devices see it: ns, never going back. */
struct dev_clock {
	uint64_t (*now)(struct dev_clock *clock);
};

static inline uint64_t dev_now(struct dev_clock *clock)
{
	return clock->now(clock);
}

/* ticks = ns * hz / 1e9, and back, rounded up; without overflow */
static inline uint64_t dev_ns_to_ticks(uint64_t ns, uint64_t hz)
{
	return (uint64_t)((unsigned __int128)ns * hz / NS_PER_SEC);
}

static inline uint64_t dev_ticks_to_ns(uint64_t ticks, uint64_t hz)
{
	return (uint64_t)(((unsigned __int128)ticks * NS_PER_SEC + hz - 1) / hz);
}

/* An interrupt line; set() hears of changes only. */
struct irq_line {
	void (*set)(void *ctx, unsigned int nr, bool level);
	void *ctx;
	unsigned int nr;
	bool level;
};

static inline void irq_set(struct irq_line *irq, bool level)
{
	if (irq->level == level)
		return;
	irq->level = level;
	irq->set(irq->ctx, irq->nr, level);
}

/* ---- bus.c: who answers at an address ------------------------------------ */

#define BUS_MAX_RANGES	64

/*
 * @max: widest access in bytes that the device knows; wider ones are split
 *	into bytes, as the ISA bus does. read or write may be NULL.
 */
struct bus_range {
	uint64_t base, size;
	unsigned int max;
	void *dev;
	uint64_t (*read)(void *dev, uint64_t offset, unsigned int size);
	void (*write)(void *dev, uint64_t offset, unsigned int size, uint64_t value);
};

struct bus {
	unsigned int count;
	struct bus_range range[BUS_MAX_RANGES];
};

int bus_add(struct bus *bus, const struct bus_range *range);	/* -EEXIST, -ENOSPC, -EINVAL */
void bus_remove(struct bus *bus, uint64_t base);	/* the range that starts there */
uint64_t bus_read(struct bus *bus, uint64_t addr, unsigned int size);	/* nobody there: all ones */
void bus_write(struct bus *bus, uint64_t addr, unsigned int size, uint64_t value);

/* ---- uart.c: 16550A ------------------------------------------------------- */

#define UART_FIFO	16

struct uart {
	struct irq_line irq;
	void (*tx)(void *ctx, uint8_t byte);
	void *tx_ctx;
	uint8_t ier, fcr, lcr, mcr, lsr, msr, scr, dll, dlm;
	bool thre;			/* the transmitter-empty interrupt is due */
	unsigned int head, count;	/* of rx */
	uint8_t rx[UART_FIFO];
};

void uart_init(struct uart *u);		/* irq, tx, tx_ctx are set already */
unsigned int uart_room(const struct uart *u);	/* bytes it would take now */
void uart_receive(struct uart *u, uint8_t byte);
uint64_t uart_read(void *dev, uint64_t offset, unsigned int size);
void uart_write(void *dev, uint64_t offset, unsigned int size, uint64_t value);

/* ---- rtc.c: MC146818 ------------------------------------------------------ */

struct rtc {
	struct irq_line irq;
	struct dev_clock *clock;
	int64_t offset;			/* its time, ns since 1970, minus clock */
	uint64_t seen;			/* clock up to which register C tells all */
	uint8_t index;
	uint8_t cmos[128];
};

void rtc_init(struct rtc *r, struct dev_clock *clock, int64_t unix_seconds);
/* What firmware leaves there: bytes of RAM from 0 on and from 4 GiB on, and CPUs. */
void rtc_set_memory(struct rtc *r, uint64_t low, uint64_t high, unsigned int cpus);
uint64_t rtc_deadline(struct rtc *r);	/* when rtc_tick() has something to do */
void rtc_tick(struct rtc *r);
uint64_t rtc_read(void *dev, uint64_t offset, unsigned int size);
void rtc_write(void *dev, uint64_t offset, unsigned int size, uint64_t value);

/* ---- ioapic.c: 82093AA with EOI register ---------------------------------- */

#define IOAPIC_SIZE	0x1000ULL
#define IOAPIC_PINS	24

struct ioapic {
	/* sends a message; how many local APICs took it, or -errno */
	int (*msi)(void *ctx, uint64_t address, uint32_t data);
	void *ctx;
	uint32_t id, select;
	uint32_t lines;			/* levels of the pins */
	uint64_t rte[IOAPIC_PINS];
};

void ioapic_init(struct ioapic *io);	/* msi, ctx are set already */
void ioapic_set(struct ioapic *io, unsigned int pin, bool level);
void ioapic_eoi(struct ioapic *io, uint8_t vector);
/* Is the PIC's output, on pin 0, passed on as it is? */
bool ioapic_passes_extint(const struct ioapic *io);
uint64_t ioapic_read(void *dev, uint64_t offset, unsigned int size);
void ioapic_write(void *dev, uint64_t offset, unsigned int size, uint64_t value);

/* ---- pit.c: 8254 and port 0x61 -------------------------------------------- */

#define PIT_HZ	1193182ULL

struct pit_channel {
	uint8_t mode, rw;		/* rw: 1 low byte, 2 high byte, 3 both */
	bool bcd, gate, null, armed;	/* null: a count is written and not counted yet */
	bool read_high, write_high;	/* which byte is next when rw is 3 */
	bool status_latched;
	uint8_t count_latched;		/* bytes of the latch left to read */
	uint8_t status, low;
	uint16_t latch;
	uint32_t reload;		/* 1 to 65536: what it counts, */
	uint32_t next;			/* and the count that comes after it; 0: the same */
	uint64_t change;		/* ticks from start to when that one is loaded */
	uint64_t start;			/* ns at which the count began */
	uint64_t frozen;		/* ticks counted when the gate closed */
};

struct pit {
	struct irq_line irq;
	struct dev_clock *clock;
	uint64_t next;			/* ns at which channel 0 has something to do */
	bool rises;			/* and that is an edge: IRQ 0 */
	uint8_t port61;			/* bits 3:0 as they were written */
	struct pit_channel ch[3];
};

void pit_init(struct pit *p, struct dev_clock *clock);
uint64_t pit_deadline(struct pit *p);
void pit_tick(struct pit *p);
uint64_t pit_read(void *dev, uint64_t offset, unsigned int size);
void pit_write(void *dev, uint64_t offset, unsigned int size, uint64_t value);
uint64_t pit_port61_read(void *dev, uint64_t offset, unsigned int size);
void pit_port61_write(void *dev, uint64_t offset, unsigned int size, uint64_t value);

/* ---- pic.c: two 8259A ------------------------------------------------------ */

struct pic_chip {
	uint8_t irr, isr, imr, lines, elcr, elcr_mask;
	uint8_t base, icw_step, icw4, lowest;	/* lowest: priority 7 */
	bool slave, single, read_isr, special_mask, rotate_aeoi, poll;
};

struct pic {
	struct pic_chip chip[2];	/* master, slave on its line 2 */
};

void pic_init(struct pic *p);
void pic_set(struct pic *p, unsigned int irq, bool level);
bool pic_output(const struct pic *p);	/* the INT line of the master */
uint8_t pic_acknowledge(struct pic *p);	/* the vector, as by INTA */
uint64_t pic_master_read(void *dev, uint64_t offset, unsigned int size);
void pic_master_write(void *dev, uint64_t offset, unsigned int size, uint64_t value);
uint64_t pic_slave_read(void *dev, uint64_t offset, unsigned int size);
void pic_slave_write(void *dev, uint64_t offset, unsigned int size, uint64_t value);
uint64_t pic_elcr_read(void *dev, uint64_t offset, unsigned int size);
void pic_elcr_write(void *dev, uint64_t offset, unsigned int size, uint64_t value);

/* ---- pm.c: ACPI fixed hardware, reset ports -------------------------------- */

#define PM_TIMER_HZ	3579545ULL

enum pm_request {
	PM_NONE,
	PM_OFF,			/* S5 */
	PM_RESET,
};

struct pm {
	struct irq_line sci;
	struct dev_clock *clock;
	void (*request)(void *ctx, enum pm_request what);
	void *ctx;
	uint8_t s5;			/* SLP_TYP that \_S5 names */
	uint16_t status, enable, control;
	uint64_t seen;			/* ns up to which TMR_STS tells all */
	uint8_t port92;
};

void pm_init(struct pm *pm, struct dev_clock *clock);	/* sci, request, ctx, s5 are set already */
void pm_power_button(struct pm *pm);
uint64_t pm_deadline(struct pm *pm);
void pm_tick(struct pm *pm);
/* Offset 0: PM1 status, 2: enable, 4: control, 8: timer. */
uint64_t pm_read(void *dev, uint64_t offset, unsigned int size);
void pm_write(void *dev, uint64_t offset, unsigned int size, uint64_t value);
/*
 * The four ports of PCI's CONFIG_ADDRESS: bytes at 0xcf9 are the reset register,
 * and 32 bits are an address whatever is in them. There is no PCI bus.
 */
#define PCI_CONFIG_PORT		0xcf8
uint64_t pm_reset_read(void *dev, uint64_t offset, unsigned int size);
void pm_reset_write(void *dev, uint64_t offset, unsigned int size, uint64_t value);
/* The keyboard controller's command port 0x64 */
uint64_t pm_i8042_read(void *dev, uint64_t offset, unsigned int size);
void pm_i8042_write(void *dev, uint64_t offset, unsigned int size, uint64_t value);
/* System control port 0x92 */
uint64_t pm_port92_read(void *dev, uint64_t offset, unsigned int size);
void pm_port92_write(void *dev, uint64_t offset, unsigned int size, uint64_t value);

/* ---- debugexit.c, debugcon.c: QEMU's isa-debug-exit and isa-debugcon -------- */

struct debugexit {
	void (*exit)(void *ctx, uint8_t status);	/* the exit status that a write asks for */
	void *ctx;
};

void debugexit_write(void *dev, uint64_t offset, unsigned int size, uint64_t value);

struct debugcon {
	void (*tx)(void *ctx, uint8_t byte);
	void *tx_ctx;
};

uint64_t debugcon_read(void *dev, uint64_t offset, unsigned int size);
void debugcon_write(void *dev, uint64_t offset, unsigned int size, uint64_t value);

/* ---- fwcfg.c: QEMU's fw_cfg (docs/specs/fw_cfg.rst) -------------------------- */

#define FWCFG_PORT	0x510	/* 2 bytes: selector, data; DMA address 4 bytes behind */
#define FWCFG_DMA_PORT	0x514
#define FWCFG_FILES	16
#define FWCFG_NAME	56	/* with its zero byte */

/* Well-known items: little-endian numbers, or bytes. */
enum {
	FWCFG_SIGNATURE		= 0x00,
	FWCFG_ID		= 0x01,
	FWCFG_RAM_SIZE		= 0x03,	/* 64 bit */
	FWCFG_NOGRAPHIC		= 0x04,	/* 16 bit */
	FWCFG_CPUS		= 0x05,	/* 16 bit */
	FWCFG_KERNEL_ADDR	= 0x07,	/* 32 bit, as all of these: */
	FWCFG_KERNEL_SIZE	= 0x08,
	FWCFG_INITRD_ADDR	= 0x0a,
	FWCFG_INITRD_SIZE	= 0x0b,
	FWCFG_MAX_CPUS		= 0x0f,	/* 16 bit */
	FWCFG_KERNEL_DATA	= 0x11,
	FWCFG_INITRD_DATA	= 0x12,
	FWCFG_CMDLINE_ADDR	= 0x13,
	FWCFG_CMDLINE_SIZE	= 0x14,
	FWCFG_CMDLINE_DATA	= 0x15,
	FWCFG_SETUP_ADDR	= 0x16,
	FWCFG_SETUP_SIZE	= 0x17,
	FWCFG_SETUP_DATA	= 0x18,
	FWCFG_DIRECTORY		= 0x19,
	FWCFG_FILE_FIRST	= 0x20,
	FWCFG_ITEMS		= FWCFG_FILE_FIRST + FWCFG_FILES,
};

struct fwcfg_file {		/* big-endian, as the guest reads it */
	uint32_t size;
	uint16_t key, reserved;
	char name[FWCFG_NAME];
};

struct fwcfg {
	/* Guest memory, for DMA: 0, or -errno if it is not there. */
	int (*get)(void *ctx, uint64_t gpa, void *buf, uint64_t len);
	int (*put)(void *ctx, uint64_t gpa, const void *buf, uint64_t len);
	void *ctx;
	struct {
		const void *data;	/* the owner's; or */
		uint64_t number;	/* if there is none */
		uint32_t size;
	} item[FWCFG_ITEMS];
	struct {
		uint32_t count;
		struct fwcfg_file file[FWCFG_FILES];
	} directory;
	unsigned int files;
	uint16_t key;
	uint32_t offset;
	uint64_t dma;			/* address of a request, its high half first */
};

void fwcfg_init(struct fwcfg *f);	/* get, put, ctx are set already */
void fwcfg_number(struct fwcfg *f, uint16_t key, uint64_t value, uint32_t size);
void fwcfg_bytes(struct fwcfg *f, uint16_t key, const void *data, uint32_t size);
/* -ENOSPC, -EEXIST, -EINVAL: a name that is empty or too long */
int fwcfg_add_file(struct fwcfg *f, const char *name, const void *data, uint32_t size);
uint64_t fwcfg_read(void *dev, uint64_t offset, unsigned int size);
void fwcfg_write(void *dev, uint64_t offset, unsigned int size, uint64_t value);
uint64_t fwcfg_dma_read(void *dev, uint64_t offset, unsigned int size);
void fwcfg_dma_write(void *dev, uint64_t offset, unsigned int size, uint64_t value);

/* ---- testdev.c: QEMU's pc-testdev -------------------------------------------- */

#define TESTDEV_IRQ_PORT	0x2000	/* a byte each: the level of an interrupt line */
#define TESTDEV_IRQS		24
#define TESTDEV_LATCH_PORT	0xe0	/* 4 bytes that hold what is written */
#define TESTDEV_FLUSH_PORT	0xe4	/* 4 bytes: the address of a page to unmap */
#define TESTDEV_MMIO		0xff000000U
#define TESTDEV_MMIO_SIZE	0x10000U

struct testdev {
	void (*irq)(void *ctx, unsigned int nr, bool level);
	void (*flush)(void *ctx, uint64_t gpa);
	void *ctx;
	uint32_t latch;
	uint8_t mmio[TESTDEV_MMIO_SIZE];
};

void testdev_irq_write(void *dev, uint64_t offset, unsigned int size, uint64_t value);
uint64_t testdev_latch_read(void *dev, uint64_t offset, unsigned int size);
void testdev_latch_write(void *dev, uint64_t offset, unsigned int size, uint64_t value);
void testdev_flush_write(void *dev, uint64_t offset, unsigned int size, uint64_t value);
uint64_t testdev_mmio_read(void *dev, uint64_t offset, unsigned int size);
void testdev_mmio_write(void *dev, uint64_t offset, unsigned int size, uint64_t value);

#endif /* CLEAVE_DEV_H */
