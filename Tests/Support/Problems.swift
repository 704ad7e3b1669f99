public import EspalierBasics

/// The problems that a call throws, one or several; empty if it throws none.
public func problems<T>(_ body: () throws -> T) -> [Problem] {
  do {
    _ = try body()
    return []
  } catch { return (error as? Problems)?.all ?? (error as? Problem).map { [$0] } ?? [] }
}

/// The problem that a call throws; nil if it throws none.
public func problem<T>(_ body: () throws -> T) -> Problem? { problems(body).first }
