libcleave/decode.o: libcleave/decode.c libcleave/insn.h \
 libcleave/libcleave.h ../uapi/linux/cleave.h
libcleave/insn.h:
libcleave/libcleave.h:
../uapi/linux/cleave.h:
