/*
 * For windows.rs: what a program has to call there to send such an event, or to live through one, is unsafe code in Rust.
 *
 *   console_event send PID c|break   sends Ctrl-C or Ctrl-Break to all programs in the console of the program PID
 *   console_event ends N STATUS      says `ready`, then `event` for each that comes; ends at the Nth, or after 30 seconds
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>
#include <tlhelp32.h>

static volatile LONG events;

static BOOL WINAPI note(DWORD event) {
  (void)event;
  InterlockedIncrement(&events);
  return TRUE;
}

/* Wine has no Ctrl-Break. This starts what Windows starts for it in a process: a thread at CtrlRoutine. */
static int break_by_thread(DWORD process) {
  LPTHREAD_START_ROUTINE routine =
      (LPTHREAD_START_ROUTINE)(void *)GetProcAddress(GetModuleHandleA("kernel32"), "CtrlRoutine");
  HANDLE handle = OpenProcess(PROCESS_ALL_ACCESS, FALSE, process);
  return routine && CreateRemoteThread(handle, NULL, 0, routine, (void *)CTRL_BREAK_EVENT, 0, NULL) != NULL;
}

/* In the program and in those that it has started, but for the console itself. */
static int break_by_threads(DWORD process) {
  HANDLE all = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
  PROCESSENTRY32 entry = {.dwSize = sizeof entry};
  for (BOOL is_one = Process32First(all, &entry); is_one; is_one = Process32Next(all, &entry)) {
    int is_in_it = entry.th32ProcessID == process || entry.th32ParentProcessID == process;
    if (is_in_it && !strstr(entry.szExeFile, "conhost") && !break_by_thread(entry.th32ProcessID)) return 0;
  }
  return 1;
}

static int send_event(DWORD process, int is_break) {
  FreeConsole();
  if (!AttachConsole(process)) return 0;
  SetConsoleCtrlHandler(note, TRUE); /* it reaches this program, too */
  if (GenerateConsoleCtrlEvent(is_break ? CTRL_BREAK_EVENT : CTRL_C_EVENT, 0)) return 1;
  return is_break && break_by_threads(process);
}

int main(int count, char **words) {
  if (count == 4 && !strcmp(words[1], "send")) return !send_event(strtoul(words[2], NULL, 10), !strcmp(words[3], "break"));
  if (count != 4 || strcmp(words[1], "ends")) return 2;
  SetConsoleCtrlHandler(note, TRUE);
  puts("ready");
  fflush(stdout);
  LONG seen = 0;
  for (int i = 0; i < 3000 && seen < atoi(words[2]); Sleep(10), i++) {
    for (; seen < events; seen++) puts("event");
    fflush(stdout);
  }
  return atoi(words[3]);
}
