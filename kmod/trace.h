/* SPDX-License-Identifier: GPL-2.0 */
/* cleave: tracepoints, in the vCPU's thread; the fields have the names of <linux/cleave.h>. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM cleave

#if !defined(CLV_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define CLV_TRACE_H

#include <linux/tracepoint.h>
#include "clv.h"

TRACE_EVENT(cleave_entry,
	    TP_PROTO(u32 vcpu, u64 rip), TP_ARGS(vcpu, rip),
	    TP_STRUCT__entry(__field(u32, vcpu) __field(u64, rip)),
	    TP_fast_assign(__entry->vcpu = vcpu; __entry->rip = rip;),
	    TP_printk("vcpu=%u rip=0x%llx", __entry->vcpu, __entry->rip)
);

TRACE_EVENT(cleave_exit,
	    TP_PROTO(u32 vcpu, const struct cleave_record *r), TP_ARGS(vcpu, r),
	    TP_STRUCT__entry(__field(u32, vcpu) __field(u32, kind) __field(u32, exit)
			     __field(u64, rip) __field(u64, raw_reason)
			     __array(u64, raw_info, 2) __field(u64, detail)
			     __field(u8, entered_type) __field(u8, entered_vector)
			     __field(u8, raised) __field(u8, raised_vector)),
	    TP_fast_assign(__entry->vcpu = vcpu; __entry->kind = r->kind; __entry->exit = r->exit;
			   __entry->rip = r->rip; __entry->raw_reason = r->raw_reason;
			   memcpy(__entry->raw_info, r->raw_info, sizeof(r->raw_info));
			   __entry->detail = r->detail;
			   __entry->entered_type = r->entered_type;
			   __entry->entered_vector = r->entered_vector;
			   __entry->raised = r->raised; __entry->raised_vector = r->raised_vector;),
	    TP_printk("vcpu=%u kind=%u exit=%u rip=0x%llx raw_reason=0x%llx raw_info=0x%llx,0x%llx detail=0x%llx entered=%u:%u raised=%u:%u",
		      __entry->vcpu, __entry->kind, __entry->exit, __entry->rip,
		      __entry->raw_reason, __entry->raw_info[0], __entry->raw_info[1],
		      __entry->detail, __entry->entered_type, __entry->entered_vector,
		      __entry->raised, __entry->raised_vector)
);

TRACE_EVENT(cleave_inject,
	    TP_PROTO(u32 vcpu, const struct cleave_event *ev), TP_ARGS(vcpu, ev),
	    TP_STRUCT__entry(__field(u32, vcpu) __field(u8, type) __field(u8, vector)
			     __field(u32, error_code)),
	    TP_fast_assign(__entry->vcpu = vcpu; __entry->type = ev->type;
			   __entry->vector = ev->vector; __entry->error_code = ev->error_code;),
	    TP_printk("vcpu=%u type=%u vector=%u error_code=0x%x",
		      __entry->vcpu, __entry->type, __entry->vector, __entry->error_code)
);

/* A stage-2 fault; flags: CLEAVE_ACCESS_*; error: an errno, as in struct cleave_run. */
TRACE_EVENT(cleave_fault,
	    TP_PROTO(u32 vcpu, u64 gpa, u32 flags, unsigned long hva, u32 error),
	    TP_ARGS(vcpu, gpa, flags, hva, error),
	    TP_STRUCT__entry(__field(u32, vcpu) __field(u32, flags) __field(u64, gpa)
			     __field(u64, hva) __field(u32, error)),
	    TP_fast_assign(__entry->vcpu = vcpu; __entry->flags = flags; __entry->gpa = gpa;
			   __entry->hva = hva; __entry->error = error;),
	    TP_printk("vcpu=%u gpa=0x%llx flags=0x%x hva=0x%llx error=%u", __entry->vcpu,
		      __entry->gpa, __entry->flags, __entry->hva, __entry->error)
);

/* A range of a slot that goes, or whose memory does; in whoever's thread it happens. */
TRACE_EVENT(cleave_invalidate,
	    TP_PROTO(u64 gpa, u64 size, u32 op, bool hit), TP_ARGS(gpa, size, op, hit),
	    TP_STRUCT__entry(__field(u64, gpa) __field(u64, size) __field(u32, op)
			     __field(bool, hit)),
	    TP_fast_assign(__entry->gpa = gpa; __entry->size = size;
			   __entry->op = op; __entry->hit = hit;),
	    TP_printk("gpa=0x%llx size=0x%llx op=%s hit=%d", __entry->gpa, __entry->size,
		      __print_symbolic(__entry->op,
				       { CLV_S2_UNMAP, "unmap" }, { CLV_S2_PROTECT, "protect" },
				       { CLV_S2_TEST_YOUNG, "test-young" },
				       { CLV_S2_CLEAR_YOUNG, "clear-young" }), __entry->hit)
);

#endif /* CLV_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
