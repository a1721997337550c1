# The gates, as tests with the label `gate`: rules of the house that no compiler checks. Each script proves on planted
# violations that it can fail (--self-test) before it is believed.
function(octavo_add_gate name)
  add_test(NAME gate_${name} COMMAND ${ARGN} COMMAND_EXPAND_LISTS)
  set_tests_properties(gate_${name} PROPERTIES LABELS gate)
endfunction()

octavo_add_gate(floors ${PROJECT_SOURCE_DIR}/cmake/check_floors.sh ${PROJECT_SOURCE_DIR})
octavo_add_gate(floors_self_test ${PROJECT_SOURCE_DIR}/cmake/check_floors.sh --self-test)
octavo_add_gate(machine_paths ${PROJECT_SOURCE_DIR}/cmake/check_machine_paths.sh ${PROJECT_SOURCE_DIR})
octavo_add_gate(machine_paths_self_test ${PROJECT_SOURCE_DIR}/cmake/check_machine_paths.sh --self-test)
octavo_add_gate(spills_self_test ${PROJECT_SOURCE_DIR}/cmake/check_spills.sh --self-test)

# Sanitizers instrument the kernels with symbols and constructors of their own.
if(NOT OCTAVO_SANITIZE)
  set(isa_tools ${CMAKE_NM} ${CMAKE_READELF})
  octavo_add_gate(isa_objects ${PROJECT_SOURCE_DIR}/cmake/check_isa_objects.sh ${isa_tools} ${OCTAVO_ISA_OBJECTS})
  octavo_add_gate(spills ${PROJECT_SOURCE_DIR}/cmake/check_spills.sh ${CMAKE_OBJDUMP} ${OCTAVO_ISA_OBJECTS})
  octavo_add_gate(isa_objects_self_test ${PROJECT_SOURCE_DIR}/cmake/check_isa_objects.sh --self-test ${isa_tools} ${CMAKE_CXX_COMPILER})
endif()
