/*
 * The one function that Go asks of bcryptprimitives.dll, which Wine 8 does not
 * have: random bytes. Go gets them through advapi32.dll, as its older releases
 * did, which in Wine takes them from the system.
 */
#include <windows.h>
#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T size)
{
	while (size > 0) {
		ULONG n = size < 1 << 20 ? (ULONG)size : 1 << 20;

		if (!RtlGenRandom(data, n))
			return FALSE;
		data += n;
		size -= n;
	}
	return TRUE;
}
