// SPDX-License-Identifier: GPL-2.0
/* What `cleave bench generations` computes: arrival of the work, figures, sentences, files. */
#include <errno.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "unit.h"
#include "../../userspace-tool/bench/args.h"
#include "../../userspace-tool/bench/generations.h"

/* ---- the sink ------------------------------------------------------------------- */

static struct gen_sink sink;

static void send_lines(uint64_t first, uint64_t last)
{
	uint8_t line[GEN_LINE_SIZE];
	uint64_t seq;

	gen_sink_reset(&sink);
	for (seq = first + 1; seq <= last; seq++) {
		gen_make_line(line, seq);
		gen_sink_line(&sink, line, sizeof(line));
	}
}

static void send_blocks(uint64_t first, uint64_t last)
{
	uint8_t block[GEN_BLOCK_SIZE];
	uint64_t seq;

	gen_sink_reset(&sink);
	for (seq = first + 1; seq <= last; seq++) {
		gen_make_block(block, seq);
		gen_sink_block(&sink, seq % GEN_DISK_BLOCKS, block, sizeof(block));
	}
}

UNIT_TEST(lines_that_arrived)
{
	uint8_t line[GEN_LINE_SIZE];
	unsigned int i;

	send_lines(5, 25);
	CHECK_EQ(gen_sink_bad_lines(&sink, 5, 25), 0);
	send_lines(1000, 1000 + 3 * GEN_DISK_BLOCKS + 7);
	CHECK_EQ(gen_sink_bad_lines(&sink, 1000, 1000 + 3 * GEN_DISK_BLOCKS + 7), 0);
	/* By single bytes it is the same. */
	gen_sink_reset(&sink);
	gen_make_line(line, 8);
	for (i = 0; i < sizeof(line); i++)
		gen_sink_byte(&sink, line[i]);
	CHECK_EQ(gen_sink_bad_lines(&sink, 7, 8), 0);
}

UNIT_TEST(lines_that_did_not)
{
	uint8_t line[GEN_LINE_SIZE];

	send_lines(5, 24);
	CHECK(gen_sink_bad_lines(&sink, 5, 25) > 0);
	send_lines(5, 26);
	CHECK(gen_sink_bad_lines(&sink, 5, 25) > 0);
	send_lines(6, 26);
	CHECK_EQ(gen_sink_bad_lines(&sink, 5, 25), 20);
	send_lines(5, 25);
	sink.line[3][GEN_LINE_SIZE - 1] ^= 1;
	CHECK_EQ(gen_sink_bad_lines(&sink, 5, 25), 1);
	send_lines(5, 25);
	gen_make_line(line, 26);
	gen_sink_line(&sink, line, GEN_LINE_SIZE - 1);
	CHECK_EQ(gen_sink_bad_lines(&sink, 5, 25), 1);
	send_lines(5, 25);
	gen_sink_byte(&sink, 'x');
	CHECK_EQ(gen_sink_bad_lines(&sink, 5, 25), 1);
}

UNIT_TEST(blocks)
{
	uint8_t block[GEN_BLOCK_SIZE];

	send_blocks(5, 25);
	CHECK_EQ(gen_sink_bad_blocks(&sink, 5, 25), 0);
	send_blocks(5, 500);
	CHECK_EQ(gen_sink_bad_blocks(&sink, 5, 500), 0);
	sink.disk[500 % GEN_DISK_BLOCKS][GEN_BLOCK_SIZE - 1] ^= 1;
	CHECK_EQ(gen_sink_bad_blocks(&sink, 5, 500), 1);
	send_blocks(5, 25);
	CHECK(gen_sink_bad_blocks(&sink, 5, 26) > 0);
	gen_make_block(block, 1);
	gen_sink_block(&sink, GEN_DISK_BLOCKS, block, sizeof(block));
	CHECK_EQ(gen_sink_bad_blocks(&sink, 5, 25), 1);
	gen_sink_block(&sink, 0, block, GEN_SECTOR);
	CHECK_EQ(gen_sink_bad_blocks(&sink, 5, 25), 2);
}

/* ---- the disk --------------------------------------------------------------------- */

static unsigned int edges;

static void on_line(void *ctx, unsigned int nr, bool level)
{
	edges += level;
}

static void ata_write(struct gen_ata *a, uint64_t block)
{
	const uint8_t regs[] = { 0, 0, 8, block * 8, block * 8 >> 8, block * 8 >> 16, 0xe0, 0x30 };
	unsigned int i;

	for (i = 2; i < 8; i++)
		gen_ata_write(a, i, 1, regs[i]);
}

UNIT_TEST(a_block_by_ports)
{
	struct gen_ata a = { .irq = { .set = on_line }, .sink = &sink };
	uint8_t block[GEN_BLOCK_SIZE];
	unsigned int i;

	gen_sink_reset(&sink);
	gen_make_block(block, 9);
	edges = 0;
	ata_write(&a, 9);
	CHECK_EQ(gen_ata_read(&a, 7, 1), 0x48);
	for (i = 0; i < GEN_BLOCK_SIZE; i += 2) {
		gen_ata_write(&a, 0, 2, block[i] | block[i + 1] << 8);
		if ((i + 2) % GEN_SECTOR)
			continue;
		CHECK_EQ(edges, (i + 2) / GEN_SECTOR);
		CHECK_EQ(gen_ata_read(&a, 7, 1), i + 2 < GEN_BLOCK_SIZE ? 0x48 : 0x40);
		CHECK(!a.irq.level);
	}
	CHECK_EQ(gen_sink_bad_blocks(&sink, 8, 9), 0);
	/* Words that nobody asked for go nowhere, a command that is not known is an error. */
	gen_ata_write(&a, 0, 2, 1);
	CHECK_EQ(sink.blocks, 1);
	gen_ata_write(&a, 7, 1, 0xec);
	CHECK_EQ(gen_ata_read(&a, 7, 1), 0x41);
	gen_ata_write(&a, 2, 1, 200);
	gen_ata_write(&a, 7, 1, 0x30);
	CHECK_EQ(gen_ata_read(&a, 7, 1), 0x41);
}

/* ---- rings ------------------------------------------------------------------------ */

static uint8_t ram[64 << 10] __attribute__((aligned(4096)));

UNIT_TEST(a_ring)
{
	struct gen_ring *ring = (struct gen_ring *)ram;
	struct cleave_mem mem = { 0 };
	unsigned int i;

	memset(ram, 0, sizeof(ram));
	cleave_mem_add(&mem, 0, sizeof(ram), ram, 0);
	gen_sink_reset(&sink);
	CHECK_EQ(gen_ring_take(ring, &mem, &sink, true), 0);
	/* Indices wrap. */
	ring->avail = ring->used = UINT32_MAX - 3;
	for (i = 1; i <= RING_SLOTS; i++) {
		ring->desc[ring->avail % RING_SLOTS].gpa = 0x4000;
		ring->desc[ring->avail % RING_SLOTS].len = GEN_BLOCK_SIZE;
		ring->desc[ring->avail % RING_SLOTS].block = i;
		ring->avail++;
	}
	CHECK_EQ(gen_ring_take(ring, &mem, &sink, true), RING_SLOTS);
	CHECK_EQ(ring->used, ring->avail);
	CHECK_EQ(sink.blocks, RING_SLOTS);
	ring->desc[ring->avail++ % RING_SLOTS].len = GEN_LINE_SIZE;
	CHECK_EQ(gen_ring_take(ring, &mem, &sink, false), 1);
	CHECK_EQ(sink.lines, 1);
}

UNIT_TEST(a_ring_that_is_none)
{
	struct gen_ring *ring = (struct gen_ring *)ram;
	struct cleave_mem mem = { 0 };

	memset(ram, 0, sizeof(ram));
	cleave_mem_add(&mem, 0, sizeof(ram), ram, 0);
	gen_sink_reset(&sink);
	ring->avail = RING_SLOTS + 1;
	CHECK_EQ(gen_ring_take(ring, &mem, &sink, true), -EINVAL);
	ring->avail = 1;
	ring->desc[0].gpa = sizeof(ram) - 1;
	ring->desc[0].len = GEN_BLOCK_SIZE;
	CHECK_EQ(gen_ring_take(ring, &mem, &sink, true), -EINVAL);
	ring->desc[0].gpa = UINT64_MAX;
	CHECK_EQ(gen_ring_take(ring, &mem, &sink, true), -EINVAL);
	CHECK_EQ(sink.blocks + sink.lines + sink.odd, 0);
}

/* ---- figures ------------------------------------------------------------------------ */

UNIT_TEST(per_operation)
{
	struct gen_reading from = { .exits = 10, .to_user = 5, .cost = 1000, .ns = 50 };
	struct gen_reading to = { .exits = 31, .to_user = 26, .cost = 7000, .ns = 40050 };
	struct gen_reading nothing = { .exits = 1, .to_user = 1, .cost = 2000, .ns = 50000 };
	struct gen_reading spent = gen_spent(&from, &to);
	struct gen_figure f = gen_figure_of(&spent, &nothing, 10);

	CHECK(f.exits == 2 && f.to_user == 2 && f.interrupts == 0 && f.cost == 400);
	CHECK(f.ns == 0);	/* never below it */
}

UNIT_TEST(exits_by_kind)
{
	static struct cleave_recorder rec;
	struct gen_reading r = { 0 };

	rec.kinds[CLEAVE_KIND_NONE] = 1000;
	rec.kinds[CLEAVE_KIND_HOST] = 7;
	rec.kinds[CLEAVE_KIND_IO] = 20;
	rec.kinds[CLEAVE_KIND_WRMSR] = 3;
	rec.exits[CLEAVE_EXIT_NONE] = 500;
	rec.exits[CLEAVE_EXIT_IO] = 20;
	rec.exits[CLEAVE_EXIT_WINDOW] = 4;
	gen_count_exits(&rec, &r);
	CHECK_EQ(r.exits, 23);
	CHECK_EQ(r.interrupts, 7);
	CHECK_EQ(r.to_user, 20);
}

/* By whatever this machine has. */
UNIT_TEST(meter)
{
	struct gen_reading before = { 0 }, after = { 0 };
	struct gen_meter m;
	volatile unsigned int i;

	gen_meter_start(&m);
	CHECK((m.perf >= 0) == (m.counted == GEN_PERF));
	gen_meter_read(&m, &before);
	for (i = 0; i < 100000; i++)
		;
	gen_meter_read(&m, &after);
	CHECK(after.cost > before.cost);
	CHECK(after.ns > before.ns);
	gen_meter_stop(&m);
}

UNIT_TEST(median)
{
	struct gen_figure runs[] = { { .cost = 30, .exits = 3 }, { .cost = 10, .exits = 1 },
				     { .cost = 20, .exits = 2 } };

	CHECK(gen_median(runs, 3).exits == 2);
}

static struct gen_figures figures(void)
{
	static const double exits[GEN_OPS][GENERATIONS] = {
		{ 128, 1, 0 }, { 39, 1, 0 }, { 3, 1, 1 }, { 4.2, 1, 1 }, { 1, 0, 0 },
	};
	struct gen_figures f = { .vendor = "AMD-V", .cpus = 2, .rounds = 20, .deadline = true,
				 .counted = GEN_TSC_INSN };
	unsigned int op, g;

	for (op = 0; op < GEN_OPS; op++)
		for (g = 0; g < GENERATIONS; g++)
			f.of[op][g] = (struct gen_figure){
				.exits = exits[op][g],
				.to_user = g == 2 ? 0 : exits[op][g],
				.cost = 1000 * exits[op][g] + 20,
				.ns = 5,
			};
	return f;
}

UNIT_TEST(sentences)
{
	struct gen_figures f = figures();
	char text[1024], small[20];

	gen_sentence(&f, 1, text, sizeof(text));
	CHECK(!strcmp(text, "From emulated to paravirtual: exits fall for a line from 128 to 1, a block from 39 to 1, a tick from 3 to 1, an IPI from 4.20 to 1 and a look at the clock from 1 to 0; one of each takes 42.8 times fewer instructions."));
	gen_sentence(&f, 2, text, sizeof(text));
	CHECK(!strcmp(text, "From paravirtual to hardware: exits fall for a line from 1 to 0 and a block from 1 to 0, stay for a tick, an IPI and a look at the clock; those to user space fall for a tick from 1 to 0 and an IPI from 1 to 0; one of each takes 2.0 times fewer instructions."));
	/* It does not say what is not so. */
	f.of[GEN_OP_TICK][2] = (struct gen_figure){ .exits = 7, .to_user = 7, .cost = 90000 };
	f.counted = GEN_TSC;
	gen_sentence(&f, 2, text, sizeof(text));
	CHECK(strstr(text, ", rise for a tick from 1 to 7, stay for an IPI and"));
	CHECK(strstr(text, "one of each takes 22.2 times the TSC ticks."));
	memset(f.of, 0, sizeof(f.of));
	gen_sentence(&f, 1, text, sizeof(text));
	CHECK(strstr(text, ": exits stay for a line, a block, a tick, an IPI and a look at the clock; too little was counted"));
	gen_sentence(&f, 1, small, sizeof(small));
	CHECK_EQ(strlen(small), sizeof(small) - 1);
}

UNIT_TEST(numbers)
{
	static const struct {
		double n;
		const char *text;
	} is[] = { { 0, "0" }, { 0.001, "0" }, { 0.25, "0.25" }, { 1, "1" }, { 1.5, "1.50" },
		   { 12.34, "12.3" }, { 128, "128" }, { 99.96, "100" }, { 123456, "123456" },
		   { 999600, "1 million" }, { 39017095, "39 million" } };
	char text[32];
	unsigned int i;

	for (i = 0; i < sizeof(is) / sizeof(is[0]); i++)
		if (strcmp(gen_number(is[i].n, text), is[i].text))
			unit_fail("%f is %s, not %s", is[i].n, text, is[i].text);
}

/* ---- files ---------------------------------------------------------------------------- */

/* What show writes; to be freed. */
static char *written(void (*show)(FILE *out, const struct gen_figures *f), const struct gen_figures *f)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	show(out, f);
	fclose(out);
	return text;
}

static unsigned int count_of(const char *text, const char *word)
{
	unsigned int n = 0;

	for (; (text = strstr(text, word)); text++)
		n++;
	return n;
}

UNIT_TEST(json)
{
	struct gen_figures f = figures();
	char *text = written(gen_json, &f);
	struct json_object *doc = json_tokener_parse(text), *list, *o;

	REQUIRE(doc);
	CHECK(json_object_object_get_ex(doc, "operations", &list));
	CHECK_EQ(json_object_array_length(list), GEN_OPS);
	o = json_object_array_get_idx(list, 0);
	CHECK(json_object_object_get_ex(o, "generations", &list));
	CHECK_EQ(json_object_array_length(list), GENERATIONS);
	CHECK(json_object_object_get_ex(json_object_array_get_idx(list, 0), "exits", &o));
	CHECK(json_object_get_double(o) == 128);
	CHECK(json_object_object_get_ex(doc, "steps", &list));
	CHECK_EQ(json_object_array_length(list), GENERATIONS - 1);
	json_object_put(doc);
	free(text);
}

/* Tags that open and close, as many bars as figures, none of them outside. */
UNIT_TEST(svg)
{
	struct gen_figures f = figures();
	char *text, *at;
	double x, y, width;
	unsigned int bars = 0;

	f.of[0][0].cost = 1e12;
	f.of[0][1].cost = 0.001;
	f.of[1][0].exits = 1e30;
	text = written(gen_svg, &f);
	CHECK(!strncmp(text, "<svg ", 5));
	CHECK_EQ(count_of(text, "<svg "), count_of(text, "</svg>"));
	CHECK_EQ(count_of(text, "<text "), count_of(text, "</text>"));
	CHECK_EQ(count_of(text, "<"), count_of(text, ">"));
	CHECK(!strstr(text, "nan") && !strstr(text, "inf"));
	for (at = text; (at = strstr(at, "<rect x=")); at++) {
		if (sscanf(at, "<rect x=\"%lf\" y=\"%lf\" width=\"%lf\" height=\"17\"", &x, &y, &width) != 3)
			continue;
		bars += strstr(at, "height=\"17\"") < strchr(at, '>');
		CHECK(x > 0 && width > 0 && x + width < 1040);
	}
	CHECK_EQ(bars, 2 * GEN_OPS * GENERATIONS);
	free(text);
}

UNIT_TEST(text)
{
	struct gen_figures f = figures();
	char *text = written(gen_print, &f);

	CHECK_EQ(count_of(text, "emulated   "), GEN_OPS);
	CHECK(strstr(text, "TSC deadline"));
	CHECK(strstr(text, "From paravirtual to hardware: "));
	CHECK(strstr(text, "2 host CPUs") && !strstr(text, "one CPU"));
	f.deadline = false;
	f.cpus = 1;
	free(text);
	text = written(gen_print, &f);
	CHECK(!strstr(text, "TSC deadline"));
	CHECK(strstr(text, "1 host CPU,") && strstr(text, "one CPU for all"));
	free(text);
}

/* ---- arguments --------------------------------------------------------------------------- */

static struct bench_args args;
static char err[256];

#define PARSE(...) ({								\
	char *argv_[] = { "bench", ##__VA_ARGS__, NULL };			\
	*err = 0;								\
	bench_args(sizeof(argv_) / sizeof(argv_[0]) - 1, argv_, &args, err, sizeof(err)); })

UNIT_TEST(arguments)
{
	CHECK_EQ(PARSE("generations"), 0);
	CHECK_EQ(args.rounds, GEN_ROUNDS);
	CHECK(!args.json && !args.svg && !args.help);
	CHECK_EQ(PARSE("generations", "--rounds", "7", "--json", "-", "-s", "f"), 0);
	CHECK_EQ(args.rounds, 7);
	CHECK(!strcmp(args.json, "-") && !strcmp(args.svg, "f"));
	CHECK_EQ(PARSE("--help"), 0);
	CHECK(args.help);
}

UNIT_TEST(arguments_that_are_none)
{
	CHECK_EQ(PARSE(), -EINVAL);
	CHECK(strstr(err, "cleave bench generations"));
	CHECK_EQ(PARSE("nonsense"), -EINVAL);
	CHECK(strstr(err, "nonsense") && strstr(err, "give generations"));
	CHECK_EQ(PARSE("generations", "more"), -EINVAL);
	CHECK(strstr(err, "more"));
	CHECK_EQ(PARSE("generations", "--rounds", "0"), -EINVAL);
	CHECK_EQ(PARSE("generations", "--rounds", "-1"), -EINVAL);
	CHECK_EQ(PARSE("generations", "--rounds", "5x"), -EINVAL);
	CHECK(strstr(err, "5x"));
	CHECK_EQ(PARSE("generations", "--rounds", "1000001"), -EINVAL);
	CHECK_EQ(PARSE("generations", "--rounds"), -EINVAL);
	CHECK(strstr(err, "value is missing"));
	CHECK_EQ(PARSE("generations", "--nonsense"), -EINVAL);
	CHECK_EQ(PARSE("generations", "--json", "-", "--svg", "-"), -EINVAL);
	CHECK(strstr(err, "--svg -"));
}
