#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// Says what is wrong and ends the process, by which libFuzzer knows and keeps the input.
public func finding(_ what: String) -> Never {
  let line = Array("finding: \(what)\n".utf8)
  _ = write(STDERR_FILENO, line, line.count)
  abort()
}
