import EspalierBasics
import Synchronization

/// Shows progress on standard error: a bar with rate and time left on a terminal, a line now and then otherwise.
final class ProgressPrinter: ProgressListener {
  private struct State {
    var stage = ""
    var total = 0
    var done = 0
    var began = 0.0
    var lastShown = 0.0
    var barIsShown = false
  }

  private let state = Mutex(State())
  private let columns = Machine.terminalColumns

  func receive(_ event: ProgressEvent) {
    state.withLock { state in
      let now = Machine.monotonicSeconds
      switch event {
      case .began(let stage, let total):
        state = State(stage: stage, total: total, began: now, lastShown: now)
      case .advanced(let bytes):
        state.done += bytes
        // A bar may move ten times a second; a log file wants a line every ten seconds.
        if now - state.lastShown >= (columns == nil ? 10 : 0.1) {
          state.lastShown = now
          show(&state, now: now)
        }
      case .ended: clearBar(&state)
      case .note(let text):
        clearBar(&state)
        Machine.writeToStandardError(text + "\n")
      case .problem(let problem):
        clearBar(&state)
        Machine.writeToStandardError(problem.description + "\n")
      }
    }
  }

  private func show(_ state: inout State, now: Double) {
    let seconds = max(now - state.began, 1e-9)
    let share = state.total > 0 ? min(1, Double(state.done) / Double(state.total)) : 0
    let rate = Double(state.done) / seconds
    let left = rate > 0 ? Double(max(0, state.total - state.done)) / rate : 0
    let figures =
      "\(Decimals.text(100 * share, 0)) %  \(ByteCount.text(Int(min(rate, 1e18))))/s  \(Self.duration(left)) left"
    guard let columns else {
      Machine.writeToStandardError("\(state.stage): \(figures)\n")
      return
    }
    let width = max(8, min(40, columns - state.stage.count - figures.count - 6))
    let filled = Int(share * Double(width))
    let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: width - filled)
    Machine.writeToStandardError("\r\u{1B}[K\(state.stage) \(bar) \(figures)")
    state.barIsShown = true
  }

  private func clearBar(_ state: inout State) {
    if state.barIsShown { Machine.writeToStandardError("\r\u{1B}[K") }
    state.barIsShown = false
  }

  static func duration(_ seconds: Double) -> String {
    let whole = Int(min(seconds, 1e18).rounded())
    if whole < 60 { return "\(whole) s" }
    if whole < 3600 { return "\(whole / 60) min \(whole % 60) s" }
    return "\(whole / 3600) h \(whole % 3600 / 60) min"
  }
}

/// Shows problems only.
struct QuietListener: ProgressListener {
  func receive(_ event: ProgressEvent) {
    if case .problem(let problem) = event { Machine.writeToStandardError(problem.description + "\n") }
  }
}

/// Prints events as JSON lines on standard output.
final class JSONEvents: ProgressListener {
  private struct State {
    var done = 0
    var total = 0
    var lastShown = 0.0
  }

  private let state = Mutex(State())

  func receive(_ event: ProgressEvent) {
    state.withLock { state in
      switch event {
      case .began(let stage, let total):
        state = State(done: 0, total: total, lastShown: Machine.monotonicSeconds)
        emit(["event": "began", "stage": .string(stage), "total_bytes": .number(total)])
      case .advanced(let bytes):
        state.done += bytes
        let now = Machine.monotonicSeconds
        guard now - state.lastShown >= 0.5 else { return }
        state.lastShown = now
        emit(["event": "advanced", "bytes": .number(state.done), "total_bytes": .number(state.total)])
      case .ended(let stage, let seconds):
        emit(["event": "ended", "stage": .string(stage), "seconds": .number(seconds)])
      case .note(let text): emit(["event": "note", "text": .string(text)])
      case .problem(let problem): print(Self.text(problem))
      }
    }
  }

  private func emit(_ json: JSON) { print(json.text()) }

  static func text(_ problem: Problem) -> String {
    var members: [(String, JSON)] = [
      ("event", "problem"), ("severity", .string(problem.severity.rawValue)),
      ("code", .string(problem.code.rawValue)), ("message", .string(problem.message)),
    ]
    if let remedy = problem.remedy { members.append(("remedy", .string(remedy))) }
    if let file = problem.context.file { members.append(("file", .string(file))) }
    if let tensor = problem.context.tensor { members.append(("tensor", .string(tensor))) }
    if let line = problem.context.recipeLine { members.append(("recipe_line", .number(line))) }
    if let offset = problem.context.byteOffset { members.append(("byte_offset", .number(offset))) }
    return JSON.object(members).text()
  }
}
