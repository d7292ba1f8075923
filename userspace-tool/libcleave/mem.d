libcleave/mem.o: libcleave/mem.c libcleave/libcleave.h \
 ../uapi/linux/cleave.h
libcleave/libcleave.h:
../uapi/linux/cleave.h:
