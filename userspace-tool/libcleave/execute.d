libcleave/execute.o: libcleave/execute.c libcleave/assist.h \
 libcleave/insn.h libcleave/libcleave.h ../uapi/linux/cleave.h \
 libcleave/x86.h
libcleave/assist.h:
libcleave/insn.h:
libcleave/libcleave.h:
../uapi/linux/cleave.h:
libcleave/x86.h:
