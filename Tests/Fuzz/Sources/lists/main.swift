import Driver

@testable import EspalierBasics
@testable import EspalierRecipes

// What lies beside packed and stored models: the list of a stored model, the sketch of a file, the list of a packed folder.
// Each input is read as all three; what is understood comes back from its text.

/// In memory where the system has it.
private let folder = (FileSystem.isFolder("/dev/shm") ? "/dev/shm" : "/tmp") + "/fuzz-\(UInt64.random(in: 0 ..< .max))"
private let names = [StoredModel.fileName, PackedList.fileName, "sketch"]

try FileSystem.createFolder(folder)

_ = fuzz { data, count in
  guard let data else { return 0 }
  let input = UnsafeRawBufferPointer(start: data, count: count)
  for name in names {
    // Not by way of the disk.
    do { try File.writing("\(folder)/\(name)", truncate: true).write(input, at: 0) } catch { return 0 }
  }
  if let model = try? StoredModel(inFolder: folder) {
    _ = model.byteCount
    for file in model.files where file.name.hasPrefix("/") || file.name.split(separator: "/").contains("..") {
      finding("a list leads to \(file.name)")
    }
    try? FileSystem.write(model.json.bytes(), to: "\(folder)/\(StoredModel.fileName)")
    guard (try? StoredModel(inFolder: folder)) == model else { finding("a list comes back as another") }
  }
  if let sketch = ModelSketch(inFile: "\(folder)/sketch") {
    guard ModelSketch(sketch.json) == sketch else { finding("a sketch comes back as another") }
    for tensor in sketch.tensors { _ = tensor.bits(against: sketch.tensors[0]) + tensor.plainBits }
  }
  for problem in PackedVerification.others(in: folder) where problem.context.file?.contains("/..") ?? false {
    finding("a list leads to \(problem.context.file ?? "")")
  }
  return 0
}
