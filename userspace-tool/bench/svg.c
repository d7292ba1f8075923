// SPDX-License-Identifier: GPL-2.0
/* The figure: for each operation a bar a generation, exits on the left, their cost on the right. */
#include <math.h>

#include "figures.h"

#define WIDTH		1040
#define TOP		118		/* above the first operation */
#define OP_HEIGHT	94
#define NAME		18		/* the operation's, above its bars */
#define BAR		17
#define BAR_STEP	20
#define LEFT		24		/* of the names */
#define PANEL		300		/* width of each scale */
#define ROOM		64		/* for the number behind the longest bar */

static const char *const colour[GENERATIONS] = { "#b3541e", "#3b6ea5", "#2f7d4f" };

/* Powers of ten, from low up to high. */
struct scale {
	double x;
	int low, high;
};

/* Zero has no logarithm: it is a stroke at the scale's start. */
static double bar_width(const struct scale *s, double n)
{
	double at = n > 0 ? (log10(n) - s->low) / (s->high - s->low) * PANEL : 0;

	return at < 1.5 ? 1.5 : at > PANEL ? PANEL : at;
}

static struct scale scale_of(const struct gen_figures *f, double x, bool cost, int low)
{
	struct scale s = { .x = x, .low = low, .high = low + 1 };
	unsigned int op, g;

	for (op = 0; op < GEN_OPS; op++)
		for (g = 0; g < GENERATIONS; g++) {
			double n = cost ? f->of[op][g].cost : f->of[op][g].exits;

			while (n > pow(10, s.high) && s.high < 18)
				s.high++;
		}
	return s;
}

static void text(FILE *out, double x, double y, const char *style, const char *words)
{
	fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, style);
	for (; *words; words++) {
		switch (*words) {
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		case '&':
			fputs("&amp;", out);
			break;
		default:
			fputc(*words, out);
		}
	}
	fputs("</text>\n", out);
}

static const char *power(int n, char words[32])
{
	if (n >= 6)
		snprintf(words, 32, "%.0f million", pow(10, n - 6));
	else
		snprintf(words, 32, "%.*f", n < 0 ? -n : 0, pow(10, n));
	return words;
}

static void grid(FILE *out, const struct scale *s, double bottom, const char *title)
{
	int step = s->high - s->low > 5 ? 2 : 1, n;
	char words[32];

	text(out, s->x, TOP - 36, "font-weight=\"bold\"", title);
	for (n = s->low; n <= s->high; n += step) {
		double x = s->x + (double)(n - s->low) / (s->high - s->low) * PANEL;

		fprintf(out, "<path d=\"M%.1f %d V%.1f\" stroke=\"#ddd\"/>\n", x, TOP - 10, bottom);
		text(out, x, TOP - 16, "text-anchor=\"middle\" font-size=\"11\" fill=\"#666\"",
		     power(n, words));
	}
}

static void bar(FILE *out, const struct scale *s, double y, unsigned int g, double n)
{
	double width = bar_width(s, n);
	char words[32];

	fprintf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n", s->x,
		y, width, BAR, colour[g]);
	text(out, s->x + width + 5, y + BAR - 4, "font-size=\"12\"", gen_number(n, words));
}

static void operation(FILE *out, const struct gen_figures *f, unsigned int op,
		      const struct scale *exits, const struct scale *cost)
{
	double y = TOP + op * OP_HEIGHT;
	unsigned int g;

	text(out, LEFT, y + NAME - 6, "font-weight=\"bold\"", gen_op_text(op));
	for (g = 0, y += NAME; g < GENERATIONS; g++, y += BAR_STEP) {
		text(out, LEFT, y + BAR - 5, "font-size=\"11\" fill=\"#444\"", gen_how(f, op, g));
		bar(out, exits, y, g, f->of[op][g].exits);
		bar(out, cost, y, g, f->of[op][g].cost);
	}
}

static void legend(FILE *out)
{
	unsigned int g;

	for (g = 0; g < GENERATIONS; g++) {
		double x = LEFT + g * 130;

		fprintf(out, "<rect x=\"%.1f\" y=\"34\" width=\"12\" height=\"12\" fill=\"%s\"/>\n", x,
			colour[g]);
		text(out, x + 18, 45, "", gen_generation_name(g));
	}
}

void gen_svg(FILE *out, const struct gen_figures *f)
{
	double x = WIDTH - 2 * (PANEL + ROOM), bottom = TOP + GEN_OPS * OP_HEIGHT - 10;
	struct scale exits = scale_of(f, x, false, -1);
	struct scale cost = scale_of(f, x + PANEL + ROOM, true, 0);
	char words[256];

	fprintf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" font-family=\"sans-serif\" font-size=\"14\">\n",
		WIDTH, bottom + 40);
	fprintf(out, "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n");
	text(out, LEFT, 22, "font-size=\"16\" font-weight=\"bold\"",
	     "The same guest, the same work, by three generations of devices");
	legend(out);
	grid(out, &exits, bottom, "exits per operation");
	snprintf(words, sizeof(words), "%s per operation", gen_counted_name(f->counted));
	grid(out, &cost, bottom, words);
	for (unsigned int op = 0; op < GEN_OPS; op++)
		operation(out, f, op, &exits, &cost);
	snprintf(words, sizeof(words), "%s; %s. Logarithmic; cleave bench generations --svg drew it.",
		 f->vendor, gen_counted_text(f->counted));
	text(out, LEFT, bottom + 26, "font-size=\"11\" fill=\"#666\"", words);
	fputs("</svg>\n", out);
}
