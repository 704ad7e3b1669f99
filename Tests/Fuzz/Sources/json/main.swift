import Driver
import EspalierBasics

/// Whatever is read can be written and read again, and is the same.
_ = fuzz { data, count in
  guard let value = try? JSON(parsing: UnsafeBufferPointer(start: data, count: count)) else { return 0 }
  precondition((try? JSON(parsing: value.bytes())) == value)
  precondition((try? JSON(parsing: value.bytes(pretty: true))) == value)
  return 0
}
