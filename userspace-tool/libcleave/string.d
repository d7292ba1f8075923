libcleave/string.o: libcleave/string.c libcleave/assist.h \
 libcleave/insn.h libcleave/libcleave.h ../uapi/linux/cleave.h \
 libcleave/x86.h
libcleave/assist.h:
libcleave/insn.h:
libcleave/libcleave.h:
../uapi/linux/cleave.h:
libcleave/x86.h:
