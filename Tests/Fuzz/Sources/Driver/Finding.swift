#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// Says what is wrong and ends the process, by which libFuzzer knows and keeps the input.
public func finding(_ what: String) -> Never {
  fputs("finding: \(what)\n", stderr)
  abort()
}
