# The program of ociworks._linux.calls for x86-64. An entry is 13 words of 32 bits, at these places:
# 0 call, 4 to 24 its arguments, 28 to 34 pardoned errors, 36 report, 40 its length, 42 its descriptor, 44 expected, 48 then
.intel_syntax noprefix
start:      # read the list; its first word is the address of the first entry
    xor eax, eax
    xor edi, edi
    mov esi, 0x500000
    mov edx, 0x20000
    syscall
    test eax, eax
    jle end
    mov ebx, [0x500000]
    xor r13d, r13d
step:       # one entry
    movsxd rax, dword ptr [rbx]
    mov edi, [rbx+4]
    mov esi, [rbx+8]
    mov edx, [rbx+12]
    mov r10d, [rbx+16]
    mov r8d, [rbx+20]
    mov r9d, [rbx+24]
    test eax, eax
    js own
    syscall
check:      # what did the call give?
    cmp rax, -4095
    jae failed
    mov ecx, [rbx+44]
    cmp ecx, -1
    je fine
    cmp eax, ecx
    je fine
    xor eax, eax
    jmp report
fine:       # it went well: go on, elsewhere if it gave 0 and there is such a place
    test eax, eax
    jne advance
    mov ecx, [rbx+48]
    test ecx, ecx
    je advance
    mov ebx, ecx
    jmp step
failed:     # an error: is it pardoned?
    neg eax
    cmp ax, [rbx+28]
    je pardon
    cmp ax, [rbx+30]
    je pardon
    cmp ax, [rbx+32]
    je pardon
    cmp ax, [rbx+34]
    jne report
pardon:     # yes: remember it, unless EACCES was there before
    cmp r13d, 13
    je advance
    mov r13d, eax
advance:    # the next entry
    add ebx, 52
    jmp step
own:        # calls below zero are ours: -1 fail, -2 compare, -3 forget, -4 remembered, -5 equal, -6 go
    inc eax
    jz refused
    inc eax
    jz compare
    inc eax
    jz forget
    inc eax
    jz remembered
    inc eax
    jz equal
    mov ebx, [rdi]      # the address of the entry to go on at
    jmp step
equal:      # 0 if so many bytes are the same in two places, else 1
    mov ecx, edx
    repe cmpsb
    setne al
    jmp check
remembered:
    mov eax, r13d
    jmp check
forget:
    xor r13d, r13d
    jmp check
compare:    # a byte in memory
    cmp sil, [rdi]
    je check
    mov eax, 1
    jmp report
refused:    # fail with the remembered error
    mov eax, r13d
report:     # write the message with this error in it
    mov esi, [rbx+36]
    bswap eax
    mov [rsi+1], eax
    movzx edx, word ptr [rbx+40]
    movzx edi, word ptr [rbx+42]
    mov eax, 1
    syscall
end:        # exit_group(255)
    mov edi, 255
    mov eax, 231
    syscall
