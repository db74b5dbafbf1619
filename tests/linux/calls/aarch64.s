// The program of ociworks._linux.calls for ARM64. An entry is 13 words of 32 bits, at these places:
// 0 call, 4 to 24 its arguments, 28 to 34 pardoned errors, 36 report, 40 its length, 42 its descriptor, 44 expected, 48 then
start:      // read the list; its first word is the address of the first entry
    mov x8, #63
    mov x0, #0
    mov x1, #0x500000
    mov x2, #0x20000
    svc #0
    cmp w0, #0
    b.le end
    mov x19, #0x500000
    ldr w19, [x19]
    mov w20, #0
step:       // one entry
    ldrsw x8, [x19]
    ldp w0, w1, [x19, #4]
    ldp w2, w3, [x19, #12]
    ldp w4, w5, [x19, #20]
    tbnz w8, #31, own
    svc #0
check:      // what did the call give?
    cmn x0, #4095
    b.hs failed
    ldr w9, [x19, #44]
    cmn w9, #1
    b.eq fine
    cmp w0, w9
    b.eq fine
    mov w0, #0
    b report
fine:       // it went well: go on, elsewhere if it gave 0 and there is such a place
    cbnz w0, advance
    ldr w9, [x19, #48]
    cbz w9, advance
    mov w19, w9
    b step
failed:     // an error: is it pardoned?
    neg w0, w0
    ldrh w9, [x19, #28]
    cmp w0, w9
    b.eq pardon
    ldrh w9, [x19, #30]
    cmp w0, w9
    b.eq pardon
    ldrh w9, [x19, #32]
    cmp w0, w9
    b.eq pardon
    ldrh w9, [x19, #34]
    cmp w0, w9
    b.ne report
pardon:     // yes: remember it, unless EACCES was there before
    cmp w20, #13
    b.eq advance
    mov w20, w0
advance:    // the next entry
    add w19, w19, #52
    b step
own:        // calls below zero are ours: -1 fail, -2 compare, -3 forget, -4 remembered, -5 equal, -6 go
    adds w8, w8, #1
    b.eq refused
    adds w8, w8, #1
    b.eq compare
    adds w8, w8, #1
    b.eq forget
    adds w8, w8, #1
    b.eq remembered
    adds w8, w8, #1
    b.eq equal
    ldr w19, [x0]       // the address of the entry to go on at
    b step
equal:      // 0 if so many bytes are the same in two places, else 1
    ldrb w9, [x0], #1
    ldrb w10, [x1], #1
    cmp w9, w10
    b.ne different
    subs w2, w2, #1
    b.ne equal
    mov w0, #0
    b check
different:
    mov w0, #1
    b check
remembered:
    mov w0, w20
    b check
forget:
    mov w20, #0
    mov w0, #0
    b check
compare:    // a byte in memory
    ldrb w9, [x0]
    and w1, w1, #0xff
    mov w0, #1
    cmp w9, w1
    b.ne report
    mov w0, #0
    b check
refused:    // fail with the remembered error
    mov w0, w20
report:     // write the message with this error in it
    ldr w1, [x19, #36]
    rev w0, w0
    stur w0, [x1, #1]
    ldrh w2, [x19, #40]
    ldrh w0, [x19, #42]
    mov x8, #64
    svc #0
end:        // exit_group(255)
    mov x0, #255
    mov x8, #94
    svc #0
