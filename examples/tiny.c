/* The demo's stand-in for busybox where Debian's is not installed: one static program that looks at its container. */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

static void show(const char *path)
{
    char text[4096];
    FILE *file = fopen(path, "r");
    if (!file)
        return;
    while (fgets(text, sizeof text, file))
        fputs(text, stdout);
    fclose(file);
}

int main(int argc, char **argv)
{
    struct utsname name;
    struct dirent *entry;
    char path[300];
    DIR *processes;

    if (argc > 1 && !strcmp(argv[1], "wait"))
        return pause();
    uname(&name);
    printf("%s %s %s %s %s\n", name.sysname, name.nodename, name.release, name.version, name.machine);
    printf("uid=%d gid=%d\n", (int)getuid(), (int)getgid());
    processes = opendir("/proc");
    while (processes && (entry = readdir(processes)))
        if (isdigit((unsigned char)entry->d_name[0])) {
            snprintf(path, sizeof path, "/proc/%s/comm", entry->d_name);
            printf("%5s ", entry->d_name);
            show(path);
        }
    show("/proc/self/cgroup");
    return 0;
}
