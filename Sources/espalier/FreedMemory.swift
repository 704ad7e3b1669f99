#if canImport(Glibc)
  import Glibc
#endif

/// Makes large blocks of memory go back to the system when they are freed. Left to itself, glibc keeps for later what it
/// has once seen freed, which a ceiling on resident memory does not allow. A library must not decide this for its
/// process, so the program does.
func returnFreedMemory() {
  #if canImport(Glibc)
    // `mallopt` is declared in malloc.h, which Swift's view of glibc leaves out; so are the names of its options.
    typealias SetOption = @convention(c) (_ option: CInt, _ value: CInt) -> CInt
    guard let address = dlsym(nil, "mallopt") else { return }
    let setOption = unsafeBitCast(address, to: SetOption.self)
    let (trimThreshold, mapThreshold): (CInt, CInt) = (-1, -3)
    _ = setOption(trimThreshold, 1 << 17)
    _ = setOption(mapThreshold, 1 << 17)
  #endif
}
